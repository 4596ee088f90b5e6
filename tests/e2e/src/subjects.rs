//! The loops of this project, as the conformance kit checks them: with the timers that programs on them use most.

use std::{io::Write, ops::ControlFlow, os::unix::net::UnixStream, thread};

use interloop::Thread;
use interloop_async_std::{AsyncStd, async_std};
use interloop_calloop::{
    Calloop,
    calloop::timer::{TimeoutAction, Timer},
};
use interloop_compio::{Compio, compio};
use interloop_conformance::Subject;
use interloop_glib::Glib;
use interloop_mio::{Mio, mio};
use interloop_smol::{Smol, smol};
use interloop_tokio::Tokio;

/// The reference loop.
pub fn thread() -> Subject<Thread> {
    Subject::new(Thread)
}

/// tokio on one thread.
pub fn tokio() -> Subject<Tokio> {
    Subject::new(Tokio::default()).with_native_timer(|_, time, fire| {
        tokio::task::spawn_local(async move {
            tokio::time::sleep(time).await;
            fire();
        });
    })
}

/// glib's default context.
pub fn glib() -> Subject<Glib> {
    Subject::new(Glib::default()).with_native_timer(|_, time, fire| {
        glib::timeout_add_local_once(time, fire);
    })
}

/// A private context.
pub fn glib_private() -> Subject<Glib> {
    Subject::new(Glib::private()).with_native_timer(|context, time, fire| {
        context.spawn_local(async move {
            glib::timeout_future(time).await;
            fire();
        });
    })
}

/// mio, which has no timers: a source that becomes ready after that time.
pub fn mio() -> Subject<Mio> {
    Subject::new(Mio::default()).with_native_timer(|native, time, fire| {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("nonblocking");
        let (source, mut fire) = (mio::net::UnixStream::from_std(ours), Some(fire));
        let registration = native.register(source, mio::Interest::READABLE, move |_, _| {
            fire.take().expect("it fires once")();
            ControlFlow::Break(())
        });
        // Dropping it would deregister the source.
        std::mem::forget(registration.expect("a source"));
        thread::spawn(move || {
            thread::sleep(time);
            theirs.write_all(b"!")
        });
    })
}

/// calloop.
pub fn calloop() -> Subject<Calloop> {
    Subject::new(Calloop::default()).with_native_timer(|native, time, fire| {
        let mut fire = Some(fire);
        let timer = native.insert_source(Timer::from_duration(time), move |_, (), ()| {
            fire.take().expect("it fires once")();
            TimeoutAction::Drop
        });
        timer.expect("a timer");
    })
}

/// smol on one thread.
pub fn smol() -> Subject<Smol> {
    Subject::new(Smol::default()).with_native_timer(|native, time, fire| {
        let timer = native.spawn(async move {
            smol::Timer::after(time).await;
            fire();
        });
        timer.detach();
    })
}

/// async-std.
pub fn async_std() -> Subject<AsyncStd> {
    Subject::new(AsyncStd::default()).with_native_timer(|(), time, fire| {
        async_std::task::spawn(async move {
            async_std::task::sleep(time).await;
            fire();
        });
    })
}

/// compio, with io_uring where that is permitted.
pub fn compio() -> Subject<Compio> {
    Subject::new(Compio::default()).with_native_timer(|_, time, fire| {
        let timer = compio::runtime::spawn(async move {
            compio::time::sleep(time).await;
            fire();
        });
        timer.detach();
    })
}
