//! The features that only mio has: sources with handlers.

use std::{
    cell::{Cell, RefCell},
    io::{Read, Write},
    ops::ControlFlow,
    os::unix::net::UnixStream as StdStream,
    rc::Rc,
    sync::mpsc,
    thread,
};

use interloop::{Context, Result, Service, task_fn};
use interloop_conformance::{Subject, on_loop};
use interloop_loop_tests::{Drops, LONG, Witness, watchdog};
use interloop_mio::{
    Mio, MioNative,
    mio::{Interest, net::UnixStream},
};

fn pair() -> (UnixStream, StdStream) {
    let (ours, theirs) = StdStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (UnixStream::from_std(ours), theirs)
}

/// Lets the loop look at its sources.
async fn look(cx: &Context<Mio>) {
    cx.sleep(std::time::Duration::from_millis(1)).await;
}

#[test]
fn a_handler_is_told_until_it_breaks_and_the_source_can_be_written_to_besides() {
    on_loop(&Subject::new(Mio::default()), async |cx: Context<Mio>| {
        let (ours, mut theirs) = pair();
        let told = Rc::new(Cell::new(0));
        let count = told.clone();
        let registration = cx.native().register(ours, Interest::READABLE, move |stream, event| {
            assert!(event.is_readable());
            while stream.read(&mut [0]).is_ok() {
                count.set(count.get() + 1);
            }
            if count.get() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let registration = registration.unwrap();
        for number in 1..=3 {
            theirs.write_all(&[number]).unwrap();
            while told.get() < number {
                look(&cx).await;
            }
        }
        // The handler has returned Break: it is not called any more, but the source still exists.
        theirs.write_all(&[4]).unwrap();
        look(&cx).await;
        assert_eq!(told.get(), 3);
        assert!(registration.set_interest(Interest::WRITABLE).is_err());
        assert_eq!(registration.with(|stream| stream.write(b"!").unwrap()), 1);
        theirs.read_exact(&mut [0]).unwrap();
    });
}

#[test]
fn the_interest_can_be_changed() {
    on_loop(&Subject::new(Mio::default()), async |cx: Context<Mio>| {
        let (ours, _theirs) = pair();
        let told = Rc::new(Cell::new(false));
        let says = told.clone();
        let registration = cx.native().register(ours, Interest::READABLE, move |_, event| {
            says.set(event.is_writable());
            ControlFlow::Continue(())
        });
        let registration = registration.unwrap();
        look(&cx).await;
        assert!(!told.get(), "nothing can be read");
        registration.set_interest(Interest::WRITABLE).unwrap();
        assert_eq!(registration.interest(), Interest::WRITABLE);
        while !told.get() {
            look(&cx).await;
        }
    });
}

#[test]
fn a_handler_may_drop_its_own_registration_and_register_others() {
    on_loop(&Subject::new(Mio::default()), async |cx: Context<Mio>| {
        let (ours, mut theirs) = pair();
        let slot = Rc::new(RefCell::new(None));
        let (own, native): (_, MioNative) = (slot.clone(), cx.native().clone());
        let (end, ended) = mpsc::channel();
        let registration = cx.native().register(ours, Interest::READABLE, move |_, _| {
            own.take();
            let (another, _peer) = pair();
            let says = end.clone();
            let second = native.register(another, Interest::READABLE, move |_, _| {
                says.send("the second is told of its peer's end").unwrap();
                ControlFlow::Break(())
            });
            second.unwrap().detach();
            ControlFlow::Continue(())
        });
        *slot.borrow_mut() = Some(registration.unwrap());
        theirs.write_all(b"!").unwrap();
        while ended.try_recv().is_err() {
            look(&cx).await;
        }
        assert!(slot.borrow().is_none());
        // Our end is gone, with its descriptor.
        assert!(theirs.write_all(b"!").is_err());
    });
}

#[test]
fn an_event_of_a_source_that_left_is_nobodys() {
    on_loop(&Subject::new(Mio::default()), async |cx: Context<Mio>| {
        // Both are ready in the same poll; the handler that is called first takes the other's place.
        let told = Rc::new(Cell::new(0));
        let slots = [Rc::new(RefCell::new(None)), Rc::new(RefCell::new(None))];
        let mut peers = Vec::new();
        for (number, slot) in slots.iter().enumerate() {
            let (ours, mut theirs) = pair();
            theirs.write_all(b"!").unwrap();
            peers.push(theirs);
            let (other, told, native) = (slots[1 - number].clone(), told.clone(), cx.native().clone());
            let registration = cx.native().register(ours, Interest::READABLE, move |_, _| {
                told.set(told.get() + 1);
                let (another, peer) = pair();
                std::mem::forget(peer);
                let third = native.register(another, Interest::READABLE, |_, _| panic!("it was told of another's"));
                third.unwrap().detach();
                other.take();
                ControlFlow::Continue(())
            });
            *slot.borrow_mut() = Some(registration.unwrap());
        }
        while told.get() == 0 {
            look(&cx).await;
        }
        look(&cx).await;
        assert_eq!(told.get(), 1);
    });
}

#[test]
fn sources_that_are_left_are_dropped_on_their_thread_at_the_end() {
    let _watchdog = watchdog();
    let drops = Drops::default();
    let (held, (end, ended)) = (drops.clone(), mpsc::channel());
    let mut service = Service::new("mio");
    service.task(
        "leaves",
        task_fn::<Mio>(async move |cx| -> Result {
            let (ours, theirs) = pair();
            end.send(theirs)?;
            let witness = Witness::new(&held);
            cx.native()
                .register(ours, Interest::READABLE, move |_, _| {
                    let _held = &witness;
                    ControlFlow::Continue(())
                })?
                .detach();
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = interloop_loop_tests::up(service);
    let mut theirs = ended.recv_timeout(LONG).unwrap();
    interloop_loop_tests::down(running);
    // The Witness itself checks on which thread it is dropped.
    let drops = drops.lock().unwrap();
    assert_eq!(drops.len(), 1);
    assert_ne!(drops[0], thread::current().id());
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "the source is closed");
}

#[test]
fn a_handler_that_panics_ends_the_loop_with_a_reason() {
    let _watchdog = watchdog();
    let mut service = Service::new("mio");
    service.task(
        "falls",
        task_fn::<Mio>(async move |cx| -> Result {
            let (ours, _theirs) = pair();
            let _falls = cx.native().register(ours, Interest::WRITABLE, |_, _| panic!("in a handler"))?;
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let report = service.start().unwrap().join();
    assert_eq!(report.code, 1, "{report}");
    assert!(report.to_string().contains("in a handler"), "{report}");
}
