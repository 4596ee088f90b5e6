//! The features that only glib has: its contexts, sources and priorities, and guests of tokio.

use interloop_own_process::own_process;
use std::{
    cell::Cell,
    net::Ipv4Addr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use glib::{ControlFlow, MainContext, Priority};
use interloop::{Service, Thread, task_fn};
use interloop_glib::Glib;
use interloop_loop_tests::{Drops, LONG, Witness, down, hints::fails_with_hint, up, watchdog};
use interloop_tokio::{Tokio, with_tokio};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[test]
fn local_timeouts_fire_on_the_default_context() {
    own_process(|| {
        let _watchdog = watchdog();
        let mut service = Service::new("glib");
        let (slot, ticks) = service.slot::<Cell<u32>>("ticks");
        service.task(
            "ticks",
            task_fn::<Glib>(async move |cx| {
                let ticks = cx.fill(slot, Cell::new(0));
                assert!(MainContext::default().is_owner());
                assert_eq!(MainContext::ref_thread_default(), MainContext::default());
                let source = glib::timeout_add_local(Duration::from_millis(1), move || {
                    ticks.set(ticks.get() + 1);
                    ControlFlow::Continue
                });
                cx.until_shutdown().await;
                source.remove();
                Ok(())
            }),
        );
        let running = up(service);
        while ticks.call(Cell::get).wait_timeout(LONG).unwrap() < 5 {}
        down(running);
    });
}

#[test]
fn futures_of_glib_work_in_tasks_on_both_kinds_of_context() {
    own_process(|| {
        let _watchdog = watchdog();
        let mut service = Service::new("glib");
        service.event_loop("own", Glib::private());
        for (name, on) in [("one", "glib"), ("two", "own")] {
            service
                .task(
                    name,
                    task_fn::<Glib>(async |cx| {
                        assert_eq!(MainContext::ref_thread_default(), *cx.native());
                        glib::timeout_future(Duration::from_millis(1)).await;
                        assert_eq!(cx.native().spawn_local(async { 7 }).await.ok(), Some(7));
                        Ok(())
                    }),
                )
                .on(on);
        }
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 0, "{report}");
    });
}

#[test]
fn two_loops_on_the_default_context_are_refused() {
    own_process(|| {
        let _watchdog = watchdog();
        let mut service = Service::new("glib");
        for name in ["one", "two"] {
            let _ = service.event_loop(name, Glib::default()).remote();
        }
        let error = service.start().unwrap_err();
        assert_eq!(error.code(), 78);
        let text = error.to_string();
        assert!(text.contains("one") && text.contains("two") && text.contains("default main context"), "{text}");
    });
}

#[test]
fn a_context_that_another_thread_drives_is_a_failed_start() {
    own_process(|| {
        let _watchdog = watchdog();
        let (acquired, driven) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            let context = MainContext::default();
            let _acquired = context.acquire().unwrap();
            acquired.send(()).unwrap();
            let _ = held.recv();
        });
        driven.recv_timeout(LONG).unwrap();
        let mut service = Service::new("glib");
        let _ = service.event_loop("glib", Glib::default()).remote();
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 1, "{report}");
        drop(release);
        other.join().unwrap();
    });
}

#[test]
fn a_private_context_is_cleared_on_its_thread_whoever_holds_it() {
    own_process(|| {
        let _watchdog = watchdog();
        let drops = Drops::default();
        let seen = drops.clone();
        let mut service = Service::new("glib");
        let remote = service.event_loop("glib", Glib::private()).remote();
        service.task(
            "leaves",
            task_fn::<Glib>(async move |cx| {
                struct AttachesMore(Drops, MainContext);
                impl Drop for AttachesMore {
                    fn drop(&mut self) {
                        let witness = Witness::new(&self.0);
                        self.1.spawn_local(async move {
                            let _witness = witness;
                            std::future::pending::<()>().await;
                        });
                    }
                }
                let in_future = (Witness::new(&seen), AttachesMore(seen.clone(), cx.native().clone()));
                cx.native().spawn_local(async move {
                    let _in_future = in_future;
                    std::future::pending::<()>().await;
                });
                let guard = glib::thread_guard::ThreadGuard::new(Witness::new(&seen));
                let tick = move || {
                    assert!(guard.is_owner());
                    ControlFlow::Continue
                };
                glib::timeout_source_new(Duration::from_millis(1), None, Priority::DEFAULT, tick)
                    .attach(Some(cx.native()));
                cx.until_shutdown().await;
                Ok(())
            }),
        );
        let running = up(service);
        let context = remote.call(MainContext::clone).wait_timeout(LONG).unwrap();
        down(running);
        {
            let drops = drops.lock().unwrap();
            assert_eq!(drops.len(), 3);
            assert!(drops.iter().all(|thread| *thread == drops[0] && *thread != thread::current().id()));
        }
        // This is the last reference.
        drop(context);
    });
}

/// Posts until it is told to stop.
fn flood(remote: interloop::Remote<MainContext>, over: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while !over.load(Ordering::Acquire) {
            let _ = remote.post(|_| ());
        }
    })
}

/// GDK's own priority, at which GTK draws.
const REDRAW: i32 = 120;

#[test]
fn a_flood_of_posts_starves_neither_timeouts_nor_the_redraw() {
    own_process(|| {
        let _watchdog = watchdog();
        let mut service = Service::new("glib");
        let remote = service.remote_to::<Glib>();
        let (ticks, frames) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = (ticks.clone(), frames.clone());
        service.task(
            "native",
            task_fn::<Glib>(async move |cx| {
                let (ticks, frames) = counted;
                let ticking = glib::timeout_add_local(Duration::from_millis(1), move || {
                    ticks.fetch_add(1, Ordering::Relaxed);
                    // GTK asks for a redraw like this: by an idle source at its priority.
                    let frames = frames.clone();
                    glib::idle_add_local_full(Priority::from(REDRAW), move || {
                        frames.fetch_add(1, Ordering::Relaxed);
                        ControlFlow::Break
                    });
                    ControlFlow::Continue
                });
                cx.until_shutdown().await;
                ticking.remove();
                Ok(())
            }),
        );
        let running = up(service);
        let over = Arc::new(AtomicBool::new(false));
        let flood = flood(remote, over.clone());
        let begun = Instant::now();
        while ticks.load(Ordering::Relaxed) < 50 || frames.load(Ordering::Relaxed) < 50 {
            assert!(begun.elapsed() < LONG);
            thread::yield_now();
        }
        over.store(true, Ordering::Release);
        flood.join().unwrap();
        down(running);
    });
}

#[test]
fn a_context_that_never_rests_still_hears_posts_and_the_stop() {
    own_process(|| {
        let _watchdog = watchdog();
        let mut service = Service::new("glib");
        let remote = service.remote_to::<Glib>();
        service.task(
            "busy",
            task_fn::<Glib>(async move |cx| {
                let busy = glib::idle_add_local_full(Priority::from(REDRAW), || ControlFlow::Continue);
                cx.until_shutdown().await;
                busy.remove();
                Ok(())
            }),
        );
        let running = up(service);
        // This is more than a turn's worth, so that the rest waits for an idle moment that never comes.
        (0..10_000).for_each(|_| remote.post(|_| ()).unwrap());
        assert_eq!(remote.call(|_| ()).wait_timeout(LONG), Ok(()));
        down(running);
    });
}

#[test]
fn a_main_loop_inside_of_a_job_runs_other_sources() {
    own_process(|| {
        let _watchdog = watchdog();
        let mut service = Service::new("glib");
        let remote = service.remote_to::<Glib>();
        let running = up(service);
        let nested = remote.call(|context| {
            // There is a glib future in it: polled in a nested loop inside of another glib future it would end the
            // process.
            let inner = glib::MainLoop::new(Some(context), false);
            let quit = inner.clone();
            let done = Rc::new(Cell::new(false));
            let seen = done.clone();
            context.spawn_local(async move {
                glib::timeout_future(Duration::from_millis(1)).await;
                seen.set(true);
                quit.quit();
            });
            inner.run();
            done.get()
        });
        // The call waits until that has ended, and is not lost.
        let after = remote.call(|_| 7);
        assert_eq!(nested.wait_timeout(LONG), Ok(true));
        assert_eq!(after.wait_timeout(LONG), Ok(7));
        down(running);
    });
}

#[test]
fn a_guest_on_glib_uses_tokio() {
    own_process(|| {
        let _watchdog = watchdog();
        let mut service = Service::new("side-by-side");
        let tokio = service.remote_to::<Tokio>();
        service.task(
            "guest",
            task_fn::<Glib>(async move |cx| {
                let not_send = Rc::new(());
                let guest = with_tokio(&tokio, async move {
                    let _not_send = not_send;
                    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
                    (0..10_000).for_each(|n| sender.send(n).unwrap());
                    drop(sender);
                    let mut received = 0;
                    while receiver.recv().await.is_some() {
                        received += 1;
                    }
                    received
                });
                let beside = with_tokio(&tokio, async {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                    let mut client = TcpStream::connect(listener.local_addr()?).await?;
                    let (mut server, _) = listener.accept().await?;
                    server.write_all(b"hello").await?;
                    let mut word = [0; 5];
                    client.read_exact(&mut word).await?;
                    std::io::Result::Ok(word)
                });
                let beside = cx.spawn_local(beside);
                assert_eq!(guest.await?, 10_000);
                assert_eq!(&beside.await???, b"hello");
                assert_eq!(thread::current().name(), Some("glib"));
                Ok(())
            }),
        );
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 0, "{report}");
    });
}

#[test]
fn the_calls_of_another_loop_s_library_fail_with_what_to_do() {
    own_process(|| {
        let _watchdog = watchdog();
        let sleeps = async || tokio::time::sleep(Duration::from_millis(1)).await;
        let hint = "give the future tokio's context by `interloop_tokio::with_tokio`, or put the task on a Tokio loop";
        fails_with_hint::<Glib, _>(Service::new("misuse"), sleeps, hint);
        // The default context is the Glib loop's.
        let hint = "; this loop is not glib's default one: put the task on a Glib loop, or post to one by a Remote";
        let mut service = Service::new("misuse");
        service.remote_to::<Glib>();
        let ticks = async || {
            glib::timeout_add_local(Duration::from_secs(1), || ControlFlow::Break);
        };
        fails_with_hint::<Thread, _>(service, ticks, hint);
        let hint = "use `cx.spawn_local`, or put the task on a Glib loop";
        let mut service = Service::new("misuse");
        service.remote_to::<Glib>();
        let spawns = async || drop(MainContext::default().spawn_local(async {}));
        fails_with_hint::<Thread, _>(service, spawns, hint);
    });
}
