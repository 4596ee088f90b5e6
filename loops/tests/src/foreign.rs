//! A service inside of a program whose main is a runtime's own: shared by the tests of tokio, smol and async-std.

use std::{cell::Cell, future::Future, thread};

use futures_util::future::join;
use interloop::{
    CallError, Service, Thread,
    event_loop::{Foreign, Mailbox},
    task_fn,
};

use crate::LONG;

/// The test body, to be awaited in that main. The service's task reaches the main's thread by a mailbox that is one
/// more future there.
pub async fn a_service_inside<Y: Future<Output = ()>>(yield_now: impl FnMut() -> Y) {
    let mailbox = Mailbox::<Foreign>::attach("main");
    let (count, end) = (mailbox.share(Cell::new(0)), mailbox.handle());
    let (here, own) = (thread::current().id(), count.clone());
    let mut service = Service::new("inside");
    let task = task_fn::<Thread>(async move |_| {
        for _ in 0..100 {
            let add = move |count: &Cell<u32>| {
                assert_eq!(thread::current().id(), here);
                count.set(count.get() + 1);
            };
            count.call(add).await?;
        }
        let slept = count.spawn(|count| async move { count.get() });
        assert_eq!(slept.await?, 100);
        Ok(())
    });
    service.task("counter", task);
    let running = service.start().expect("the configuration works");
    // The main's thread can't block by waiting for itself.
    assert_eq!(own.call(Cell::get).wait_timeout(LONG), Err(CallError::WouldBlock));
    let over = async {
        let report = running.ended().await;
        end.request_shutdown("the service has ended");
        report
    };
    let ((), report) = join(mailbox.drive(yield_now), over).await;
    assert_eq!(report.code, 0, "{report}");
    assert_eq!(own.call(Cell::get).await, Err(CallError::Stopped));
}
