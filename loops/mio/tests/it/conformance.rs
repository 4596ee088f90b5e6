//! The checks that every loop must pass.

use std::{io::Write, ops::ControlFlow, os::unix::net::UnixStream, thread, time::Duration};

use interloop_conformance::Fire;
use interloop_mio::{
    Mio, MioNative,
    mio::{self, Interest},
};

/// Sets a timer by a source to which something happens after that time: mio has no timers.
fn set_timer(native: &MioNative, time: Duration, fire: Fire) {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("nonblocking");
    let mut fire = Some(fire);
    let source = mio::net::UnixStream::from_std(ours);
    let registration = native.register(source, Interest::READABLE, move |_, _| {
        fire.take().expect("it fires once")();
        ControlFlow::Break(())
    });
    // Dropping the registration would end it.
    std::mem::forget(registration.expect("a source"));
    thread::spawn(move || {
        thread::sleep(time);
        theirs.write_all(b"!")
    });
}

interloop_conformance::conformance!(Mio::default(), native_timer: set_timer);
