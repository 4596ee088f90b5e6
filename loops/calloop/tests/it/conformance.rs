//! The checks that every loop must pass.

use interloop_calloop::{
    Calloop,
    calloop::timer::{TimeoutAction, Timer},
};

interloop_conformance::conformance!(Calloop::default(), native_timer: |native, time, fire| {
    let mut fire = Some(fire);
    let timer = native.insert_source(Timer::from_duration(time), move |_, (), ()| {
        fire.take().expect("it fires once")();
        TimeoutAction::Drop
    });
    timer.expect("a timer");
});
