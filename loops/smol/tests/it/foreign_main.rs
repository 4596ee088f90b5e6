//! Interloop inside of a program whose main is smol's.

#[path = "../../../tokio/tests/it/util/foreign.rs"]
mod foreign;
use crate::util::watchdog;

#[test]
fn a_service_lives_inside_of_block_on() {
    let _watchdog = watchdog();
    smol::block_on(foreign::a_service_inside(smol::future::yield_now));
}
