//! Tests that need a clock set by hand, or access to internals.

use std::time::Duration;

use super::Counter;

#[cfg(feature = "metrics")]
mod windows {
    use super::{super::Histogram, *};

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000_000 * 60 + seconds)
    }

    #[test]
    fn a_window_shows_what_came_within_it_and_forgets_the_rest() {
        let samples = Histogram::new(&[MINUTE, 10 * MINUTE, MINUTE]);
        samples.record_at(1.0, at(0));
        samples.record_at(9.0, at(30));
        let counts = |now| samples.read_at(now).windows.iter().map(|window| window.count).collect::<Vec<_>>();
        assert_eq!(counts(at(30)), [2, 2]);
        assert_eq!(counts(at(52)), [2, 2]);
        // The first eighth has left the window.
        assert_eq!(counts(at(61)), [1, 2]);
        assert_eq!(samples.read_at(at(61)).windows[0].min, Some(9.0));
        assert_eq!(counts(at(95)), [0, 2]);
        assert_eq!(samples.read_at(at(95)).windows[0].p99, None);
        // The memory of one eighth is reused by the next values in its turn.
        samples.record_at(5.0, at(60));
        assert_eq!(samples.read_at(at(60)).windows[0].min, Some(5.0));
        assert_eq!(counts(at(100_000)), [0, 0]);
        let reading = samples.read_at(at(100_000));
        assert_eq!((reading.count, reading.sum, reading.min, reading.max), (3, 15.0, Some(1.0), Some(9.0)));
    }

    #[test]
    fn percentiles_are_within_one_percent_over_all_of_their_range() {
        for scale in [1e-7, 1e-3, 1.0, 1e6] {
            let samples = Histogram::new(&[MINUTE]);
            for value in 1..=1000_u32 {
                samples.record_at(f64::from(value) * scale, at(u64::from(value / 40)));
            }
            let window = &samples.read_at(at(30)).windows[0];
            for (found, wanted) in [(window.p50, 500.0), (window.p99, 990.0)] {
                let off = (found.unwrap() / (wanted * scale) - 1.0).abs();
                assert!(off < 0.011, "{found:?} for {wanted} of {scale}");
            }
            assert_eq!((window.count, window.max), (1000, Some(1000.0 * scale)));
        }
    }

    #[test]
    fn odd_values_harm_nothing() {
        let samples = Histogram::new(&[MINUTE]);
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            samples.record_at(value, at(0));
        }
        assert_eq!(samples.read_at(at(0)).count, 0);
        for value in [-5.0, 0.0, f64::MAX / 2.0] {
            samples.record_at(value, at(0));
        }
        let reading = samples.read_at(at(0));
        let window = &reading.windows[0];
        assert_eq!((reading.count, reading.min, reading.max), (3, Some(-5.0), Some(f64::MAX / 2.0)));
        assert_eq!((window.count, window.p50), (3, Some(0.0)));
        samples.reset();
        assert_eq!(samples.read_at(at(0)).windows[0].count, 0);
    }
}

#[test]
fn a_counter_that_is_reset_while_others_add_loses_nothing() {
    let counter = Counter::default();
    let mut taken = 0;
    std::thread::scope(|scope| {
        let adders = (0..4).map(|_| scope.spawn(|| (0..20_000).for_each(|_| counter.add(1)))).collect::<Vec<_>>();
        while !adders.iter().all(|adder| adder.is_finished()) {
            taken += counter.reset();
            assert!(counter.get() <= 80_000 - taken, "torn: {}", counter.get());
        }
    });
    assert_eq!(taken + counter.get(), 80_000);
    assert_eq!(counter.reset(), 80_000 - taken);
    assert_eq!(counter.get(), 0);
}
