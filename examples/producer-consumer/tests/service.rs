//! Runs the service on a fake clock: three seconds of posting, then the drain at the stop; none of it takes time.

use std::time::Duration;

use interloop::testing::TestService;

#[test]
fn parcels_are_delivered_tried_again_or_given_up() {
    let mut test = TestService::new(producer_consumer::service());
    let clock = test.fake_clock();
    let test = test.start();
    clock.advance(Duration::from_secs(3));
    // Of 30 parcels, those divisible by 5 are never delivered, and the rest of those divisible by 3 not at the first
    // attempt.
    test.request_shutdown("closing time");
    clock.advance(Duration::from_secs(3));
    let counts = ["completed", "dead_letters", "try_later"];
    let counts = counts.map(|name| test.counter(&format!("deliveries.{name}")));
    assert_eq!(counts, [24, 6, 6 * 2 + 8]);
    test.join().assert_clean();
}
