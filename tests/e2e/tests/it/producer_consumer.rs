//! The example producer-consumer: retries and dead letters in the log, a drain at the stop.

use interloop_e2e::{Example, Signal, watched};

#[test]
fn parcels_are_tried_again_given_up_or_delivered_and_none_is_left_at_the_stop() {
    watched(|| {
        let mut example = Example::start("producer-consumer", &["--deliveries-workers", "2"]);
        example.log("parcel 1 is delivered at attempt 1");
        example.log("parcel 3, attempt 1: nobody is at home");
        example.log("parcel 3 is delivered at attempt 2");
        example.log("is a dead letter: given up after 3 attempts: nobody is at home");
        // One that must be tried again is there when it is asked to stop.
        example.log("parcel 9, attempt 1: nobody is at home");
        example.signal(Signal::TERM);
        assert_eq!(example.wait(), 0);
        let log = example.whole_log();
        assert!(log.contains("parcel 9 is delivered at attempt 2") && log.contains("stopped gracefully"), "{log}");
        assert!(!log.contains("given back"), "{log}");
    });
}
