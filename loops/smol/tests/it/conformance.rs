//! The checks that every loop must pass, with one thread and with workers.

use std::time::Duration;

use interloop_conformance::Fire;
use interloop_smol::{Smol, SmolNative, smol::Timer};

fn set_timer(native: &SmolNative, time: Duration, fire: Fire) {
    let timer = native.spawn(async move {
        Timer::after(time).await;
        fire();
    });
    timer.detach();
}

mod alone {
    use super::{Smol, set_timer};

    interloop_conformance::conformance!(Smol::default(), native_timer: set_timer);
}

mod workers {
    use super::{Smol, set_timer};

    interloop_conformance::conformance!(Smol::default(), "worker-threads" = 2, native_timer: set_timer);
}
