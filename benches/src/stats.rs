//! Median and spread.

/// A median with the quartiles of the values it was taken from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The value in the middle; for an even number of values, the mean of the two in the middle.
    pub median: f64,
    /// The lower quartile; the smallest of few values.
    pub low: f64,
    /// The upper quartile; the largest of few values.
    pub high: f64,
}

impl Spread {
    /// Returns the spread of the values; `None` if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let (low, high) = (values[values.len() / 4], values[last - values.len() / 4]);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Self { median, low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn median_is_the_middle_of_any_order() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of([5.0, 1.0]), Some(Spread { median: 3.0, low: 1.0, high: 5.0 }));
        assert_eq!(Spread::of([7.0]), Some(Spread { median: 7.0, low: 7.0, high: 7.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn half_of_the_values_lie_within_the_spread() {
        let values = (0..100).map(f64::from);
        assert_eq!(Spread::of(values), Some(Spread { median: 49.5, low: 25.0, high: 74.0 }));
    }
}
