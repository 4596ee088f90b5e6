//! The checks that every loop must pass, by both drivers.

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

#[test]
fn compio_s_own_calls_on_another_loop_fail_with_what_to_do() {
    let _watchdog = interloop_loop_tests::watchdog();
    let sleeps = async || sleep(Duration::from_millis(1)).await;
    let hint = "; this loop is not compio's: put the task on a Compio loop";
    interloop_loop_tests::hints::fails_with_hint::<interloop::Thread, _>(
        interloop::Service::new("misuse"),
        sleeps,
        hint,
    );
}
