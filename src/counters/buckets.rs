//! The frequencies of values, to within 1 %.
//!
//! The buckets are those of HdrHistogram with two digits: up to 255 every number has its own, and from there on each
//! power of two is split into 128 of equal width. A histogram records, merges, resets and computes quantiles; that
//! takes a `Vec` and no dependency. The tests compare it with the crate hdrhistogram.

/// The number of buckets for each power of two, as a power of two itself.
const BITS: u32 = 7;
const BUCKETS: usize = 1 << BITS;

/// Frequencies that grow up to the greatest recorded number: at most 58 powers of two, which are 29 KiB.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    counts: Vec<u32>,
    total: u64,
}

impl Buckets {
    pub(super) fn record(&mut self, number: u64) {
        let index = index(number);
        if index >= self.counts.len() {
            self.counts.resize((index / BUCKETS + 1) * BUCKETS, 0);
        }
        self.counts[index] = self.counts[index].saturating_add(1);
        self.total += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.total += other.total;
    }

    /// Forgets all numbers, and keeps the memory.
    pub(super) fn reset(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// Returns the number at this quantile, from 0 to 1: the greatest of its bucket. `None` without numbers.
    pub(super) fn quantile(&self, quantile: f64) -> Option<u64> {
        let wanted = ((quantile * self.total as f64).ceil() as u64).max(1);
        let mut passed = 0;
        let bucket = self.counts.iter().position(|&count| {
            passed += u64::from(count);
            passed >= wanted
        });
        bucket.map(greatest)
    }
}

fn index(number: u64) -> usize {
    let shift = u64::BITS.saturating_sub(number.leading_zeros() + BITS + 1);
    shift as usize * BUCKETS + (number >> shift) as usize
}

/// Returns the greatest number of a bucket.
fn greatest(index: usize) -> u64 {
    let shift = (index / BUCKETS).saturating_sub(1);
    let least = ((index - shift * BUCKETS) as u64) << shift;
    least + ((1 << shift) - 1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Generates numbers of which all magnitudes are equally likely.
    fn number() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..u64::BITS).prop_map(|(number, shift)| number >> shift)
    }

    proptest! {
        #[test]
        fn it_says_what_hdrhistogram_says(
            first in prop::collection::vec(number(), 1..200),
            second in prop::collection::vec(number(), 0..200),
            quantiles in prop::collection::vec(0.000_001..=1.0, 1..20),
        ) {
            let (mut ours, mut theirs) = (Buckets::default(), hdrhistogram::Histogram::<u32>::new(2).unwrap());
            theirs.auto(true);
            let (mut more, mut theirs_more) = (Buckets::default(), theirs.clone());
            // Forgotten numbers leave no trace.
            second.iter().for_each(|&number| ours.record(number));
            ours.reset();
            for &number in &first {
                ours.record(number);
                theirs.record(number).unwrap();
            }
            for &number in &second {
                more.record(number);
                theirs_more.record(number).unwrap();
            }
            ours.add(&more);
            theirs.add(&theirs_more).unwrap();
            for quantile in quantiles {
                // After a merge, the greatest number that theirs knows is one less.
                let least = |number: u64| number.min(u64::MAX - 1);
                let (ours, theirs) = (ours.quantile(quantile).map(least), least(theirs.value_at_quantile(quantile)));
                prop_assert_eq!(ours, Some(theirs), "{}", quantile);
            }
        }

        #[test]
        fn a_bucket_is_within_one_percent(number in number()) {
            let greatest = greatest(index(number));
            prop_assert!(greatest >= number && (greatest - number) as f64 <= number as f64 / 100.0, "{}", greatest);
        }
    }

    #[test]
    fn without_numbers_there_is_no_quantile_and_the_greatest_number_has_a_bucket() {
        let mut histogram = Buckets::default();
        assert_eq!(histogram.quantile(0.5), None);
        histogram.record(u64::MAX);
        assert_eq!(histogram.quantile(0.5), Some(u64::MAX));
        histogram.reset();
        assert_eq!(histogram.quantile(1.0), None);
    }
}
