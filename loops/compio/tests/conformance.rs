//! What every loop has to pass, by both drivers.

use std::time::Duration;

use interloop_compio::{
    Compio, CompioNative,
    compio::{runtime, time::sleep},
};
use interloop_conformance::Fire;

fn set_timer(_: &CompioNative, time: Duration, fire: Fire) {
    let timer = runtime::spawn(async move {
        sleep(time).await;
        fire();
    });
    timer.detach();
}

mod io_uring {
    use super::{Compio, set_timer};

    interloop_conformance::conformance!(Compio::default(), native_timer: set_timer);
}

mod poll {
    use super::{Compio, set_timer};

    interloop_conformance::conformance!(Compio::default(), "driver" = "poll", native_timer: set_timer);
}
