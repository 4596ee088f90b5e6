//! Runs the service in the test's process.

use interloop::testing;

#[test]
fn it_waits_until_it_is_asked_to_stop() {
    let test = testing::run(empty::service());
    assert!(test.status().tasks.is_empty());
    test.stop().assert_clean();
}
