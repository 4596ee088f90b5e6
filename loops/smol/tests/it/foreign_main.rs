//! Interloop inside of a program whose main is smol's.

use interloop_loop_tests::{foreign, watchdog};

#[test]
fn a_service_lives_inside_of_block_on() {
    let _watchdog = watchdog();
    smol::block_on(foreign::a_service_inside(smol::future::yield_now));
}
