//! The features that only tokio has: workers, sockets, blocking closures, guests on other loops.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context as Poller, Poll},
    thread,
    time::{Duration, Instant},
};

use interloop::{CallError, Service, Thread, task_fn};
use interloop_loop_tests::{LONG, down, hints::fails_with_hint, up, watchdog};
use interloop_tokio::{Tokio, with_tokio};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
};

fn with_workers() -> Service {
    let mut service = Service::new("workers");
    service.event_loop("tokio", Tokio::default()).set("worker-threads", 2);
    service
}

fn here() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

#[test]
fn without_workers_all_runs_on_the_loops_thread() {
    let _watchdog = watchdog();
    let mut service = Service::new("alone");
    let remote = service.remote_to::<Tokio>();
    service.task(
        "spawner",
        task_fn::<Tokio>(async |cx| {
            assert_eq!(cx.spawn(async { here() }).await?, "tokio");
            assert_eq!(cx.spawn_local(async { here() }).await?, "tokio");
            assert_eq!(tokio::spawn(async { here() }).await?, "tokio");
            assert_eq!(tokio::task::spawn_local(async { here() }).await?, "tokio");
            assert_ne!(tokio::task::spawn_blocking(here).await?, "tokio");
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = up(service);
    assert_eq!(remote.call(|_| here()).wait_timeout(LONG), Ok("tokio".to_owned()));
    down(running);
}

#[test]
fn workers_run_what_is_send_and_the_loops_thread_the_rest() {
    let _watchdog = watchdog();
    let mut service = with_workers();
    service.task(
        "spawner",
        task_fn::<Tokio>(async |cx| {
            assert_eq!(here(), "tokio");
            assert_eq!(cx.spawn(async { here() }).await?, "tokio-worker");
            assert_eq!(tokio::spawn(async { here() }).await?, "tokio-worker");
            let not_send = Rc::new(here);
            assert_eq!(cx.spawn_local(async move { not_send() }).await?, "tokio");
            assert_eq!(tokio::task::spawn_local(async { here() }).await?, "tokio");
            cx.sleep(Duration::from_millis(1)).await;
            // It is cancelled, and awaited, at the end of the task.
            cx.spawn(std::future::pending::<()>()).detach();
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    down(up(service));
}

#[test]
fn a_panic_of_a_child_on_a_worker_fails_its_task() {
    let _watchdog = watchdog();
    let mut service = with_workers();
    service.task(
        "parent",
        task_fn::<Tokio>(async |cx| {
            cx.spawn(async { panic!("on a worker") }).detach();
            cx.until_shutdown().await;
            std::future::pending().await
        }),
    );
    let report = service.start().unwrap().join();
    assert_eq!(report.code, 1, "{report}");
}

/// Notes whether it was dropped inside a runtime.
struct LooksForTheRuntime(Arc<Mutex<Vec<(bool, String)>>>);

impl Drop for LooksForTheRuntime {
    fn drop(&mut self) {
        self.0.lock().unwrap().push((Handle::try_current().is_ok(), here()));
    }
}

fn leftovers_are_dropped_inside(mut service: Service) -> Vec<(bool, String)> {
    let drops = Arc::new(Mutex::new(Vec::new()));
    let seen = drops.clone();
    service.task(
        "leaves",
        task_fn::<Tokio>(async move |_| {
            let local = LooksForTheRuntime(seen.clone());
            tokio::task::spawn_local(async move {
                let _local = local;
                std::future::pending::<()>().await;
            });
            let anywhere = LooksForTheRuntime(seen);
            tokio::spawn(async move {
                let _anywhere = anywhere;
                std::future::pending::<()>().await;
            });
            tokio::task::yield_now().await;
            Ok(())
        }),
    );
    let report = service.start().unwrap().join();
    assert_eq!(report.code, 0, "{report}");
    let mut drops = drops.lock().unwrap().clone();
    drops.sort();
    drops
}

#[test]
fn what_was_given_to_the_runtime_itself_is_dropped_inside_of_it() {
    let _watchdog = watchdog();
    let on_the_loop = (true, "tokio".to_owned());
    assert_eq!(leftovers_are_dropped_inside(Service::new("alone")), [on_the_loop.clone(), on_the_loop.clone()]);
    let with_workers = leftovers_are_dropped_inside(with_workers());
    assert_eq!(with_workers.len(), 2);
    assert!(with_workers.contains(&on_the_loop));
    assert!(with_workers.iter().all(|(inside, _)| *inside));
}

fn a_blocking_closure_does_not_hold_up_the_end(mut service: Service) {
    let (release, held) = mpsc::channel::<()>();
    let (ended, end) = mpsc::channel();
    service.task(
        "reads",
        task_fn::<Tokio>(async move |cx| {
            tokio::task::spawn_blocking(move || {
                let _ = held.recv();
                ended.send(()).unwrap();
            });
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = up(service);
    let begun = Instant::now();
    let report = running.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(report.code, 0, "{report}");
    drop(release);
    end.recv_timeout(LONG).unwrap();
}

#[test]
fn a_blocking_closure_that_is_stuck_does_not_hold_up_the_end() {
    let _watchdog = watchdog();
    a_blocking_closure_does_not_hold_up_the_end(Service::new("alone"));
    a_blocking_closure_does_not_hold_up_the_end(with_workers());
}

/// Sends each byte back.
async fn echo(listener: TcpListener) -> interloop::Result {
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() && stream.write_all(&byte).await.is_ok() {}
        });
    }
}

fn a_flood_starves_no_socket(mut service: Service) {
    let remote = service.remote_to::<Tokio>();
    let (address, bound) = mpsc::channel::<SocketAddr>();
    service.task(
        "echo",
        task_fn::<Tokio>(async move |cx| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            address.send(listener.local_addr()?)?;
            cx.spawn(async { drop(echo(listener).await) }).detach();
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = up(service);
    let over = Arc::new(AtomicBool::new(false));
    let flood = thread::spawn({
        let over = over.clone();
        move || {
            while !over.load(Ordering::Acquire) {
                let _ = remote.post(|_| ());
            }
        }
    });
    let mut stream = std::net::TcpStream::connect(bound.recv().unwrap()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    for byte in 0..100 {
        use std::io::{Read, Write};
        stream.write_all(&[byte]).unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [byte]);
    }
    over.store(true, Ordering::Release);
    flood.join().unwrap();
    down(running);
}

#[test]
fn a_flood_of_posts_starves_no_socket() {
    let _watchdog = watchdog();
    a_flood_starves_no_socket(Service::new("alone"));
    a_flood_starves_no_socket(with_workers());
}

/// tokio's cooperative budget must not stop it in mid-stream, as it would after 128.
async fn guest() -> u32 {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    for n in 0..10_000_u32 {
        sender.send(n).unwrap();
    }
    drop(sender);
    let mut received = 0;
    while receiver.recv().await.is_some() {
        received += 1;
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"hello").await.unwrap();
    let mut word = [0; 5];
    client.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"hello");
    received
}

fn a_guest_of(mut service: Service) {
    let tokio = service.remote_to::<Tokio>();
    service.task(
        "guest",
        task_fn::<Thread>(async move |_| {
            let not_send = Rc::new(());
            let received = with_tokio(&tokio, async move {
                let _not_send = not_send;
                guest().await
            });
            assert_eq!(received.await?, 10_000);
            assert_eq!(here(), "guest");
            Ok(())
        }),
    );
    let report = service.start().unwrap().join();
    assert_eq!(report.code, 0, "{report}");
}

#[test]
fn a_guest_on_another_loop_uses_tokio() {
    let _watchdog = watchdog();
    a_guest_of(Service::new("alone"));
    a_guest_of(with_workers());
}

/// Never ready; notes where it is dropped.
struct Stays(#[expect(dead_code)] LooksForTheRuntime);

impl Future for Stays {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Poller<'_>) -> Poll<()> {
        Poll::Pending
    }
}

#[test]
fn a_guest_is_dropped_in_the_context_of_its_host() {
    let _watchdog = watchdog();
    let mut service = Service::new("alone");
    let tokio = service.remote_to::<Tokio>();
    let drops = Arc::new(Mutex::new(Vec::new()));
    let seen = drops.clone();
    service.task(
        "guest",
        task_fn::<Thread>(async move |cx| {
            cx.ready();
            let guest = with_tokio(&tokio, Stays(LooksForTheRuntime(seen)));
            assert!(cx.timeout(Duration::from_millis(20), guest).await.is_err());
            Ok(())
        }),
    );
    let report = service.start().unwrap().join();
    assert_eq!(report.code, 0, "{report}");
    assert_eq!(*drops.lock().unwrap(), [(true, "guest".to_owned())]);
}

#[test]
fn a_guest_without_a_host_is_told() {
    let _watchdog = watchdog();
    let mut service = Service::new("alone");
    let tokio = service.remote_to::<Tokio>();
    down(up(service));
    let mut service = Service::new("other");
    service.task(
        "guest",
        task_fn::<Thread>(async move |_| {
            assert_eq!(with_tokio(&tokio, async {}).await, Err(CallError::Stopped));
            Ok(())
        }),
    );
    let report = service.start().unwrap().join();
    assert_eq!(report.code, 0, "{report}");
}

/// The hint for a task on another loop that calls tokio's own functions.
const WITH_TOKIO: &str = "; this loop is not tokio's: give the future tokio's context by \
                          `interloop_tokio::with_tokio`, or put the task on a Tokio loop";

#[test]
fn tokios_own_calls_on_another_loop_fail_with_what_to_do() {
    let _watchdog = watchdog();
    let service = || Service::new("misuse");
    fails_with_hint::<Thread, _>(service(), async || drop(tokio::spawn(async {})), WITH_TOKIO);
    fails_with_hint::<Thread, _>(service(), async || tokio::time::sleep(Duration::from_millis(1)).await, WITH_TOKIO);
    let connects = async || drop(TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 9))).await);
    fails_with_hint::<Thread, _>(service(), connects, WITH_TOKIO);
    let local = async || drop(tokio::task::spawn_local(async {}));
    fails_with_hint::<Thread, _>(service(), local, "; use `cx.spawn_local`, which works on every loop");
}
