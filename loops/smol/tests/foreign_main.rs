//! Interloop inside of a program whose main is smol's.

#[path = "../../tokio/tests/util/foreign.rs"]
mod foreign;
#[path = "../../tokio/tests/util/mod.rs"]
mod util;

use util::watchdog;

#[test]
fn a_service_lives_inside_of_block_on() {
    let _watchdog = watchdog();
    smol::block_on(foreign::a_service_inside(smol::future::yield_now));
}
