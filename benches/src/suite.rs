//! Comparisons: the contestants, the number of rounds, and the bounds that must hold.
//!
//! All contestants run in one process, interleaved: each round runs every contestant once, and the order turns by one
//! and reverses from round to round, so that a machine that warms up, cools down or is busy with something else affects
//! all alike. Ratios are taken within a round; their median is the result.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::stats::Spread;

/// The error of a failed measurement.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The findings of one round.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The cost of one operation, in the comparison's unit: nanoseconds by default. Less is better.
    pub cost: f64,
    /// A second figure to print beside it: operations per second, or as set by [`Comparison::columns`].
    pub rate: f64,
}

impl Sample {
    /// Makes a sample of `n` operations that took `elapsed`.
    pub fn of(n: u32, elapsed: Duration) -> Self {
        Self { cost: elapsed.as_nanos() as f64 / f64::from(n), rate: f64::from(n) / elapsed.as_secs_f64() }
    }

    /// Makes a sample of `n` operations that used `cpu` of CPU time, and took `elapsed`.
    pub fn of_cpu(n: u32, cpu: Duration, elapsed: Duration) -> Self {
        Self { cost: cpu.as_nanos() as f64 / f64::from(n), rate: f64::from(n) / elapsed.as_secs_f64() }
    }

    /// Makes a sample of one operation that took this many bytes, or other counted things.
    pub fn of_count(count: f64) -> Self {
        Self { cost: count, rate: 0.0 }
    }

    /// Makes a sample of two values in the comparison's unit, for [`Comparison::columns`].
    pub fn of_two(first: f64, second: f64) -> Self {
        Self { cost: first, rate: second }
    }
}

type Measure = Box<dyn FnMut(u32) -> Result<Sample, Failure>>;

struct Contestant {
    name: &'static str,
    link: Option<&'static str>,
    measure: Measure,
}

/// A bound that must hold between two contestants.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// The first costs at most this many times as much as the second.
    CostAtMost(f64),
    /// The first is at least this many times as fast as the second: `0.9`, `15.0`.
    SpeedAtLeast(f64),
    /// The first costs at most this much, whatever others do: nanoseconds, or bytes.
    AtMost(f64),
}

/// The unit of a cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Time.
    #[default]
    Nanoseconds,
    /// Memory; there is no rate then.
    Bytes,
    /// A count; there is no rate then.
    Count,
}

#[derive(Clone, Debug)]
struct Claim {
    first: &'static str,
    second: Option<&'static str>,
    bound: Bound,
}

/// One question, and all contestants that answer it.
pub struct Comparison {
    id: &'static str,
    question: &'static str,
    operations: u32,
    /// The number of parts that the operations of a round are split into, each a round of its own.
    parts: u32,
    unit: Unit,
    columns: Option<[&'static str; 2]>,
    is_matrix: bool,
    contestants: Vec<Contestant>,
    claims: Vec<Claim>,
}

impl fmt::Debug for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Comparison").field("id", &self.id).field("contestants", &self.names()).finish_non_exhaustive()
    }
}

impl Comparison {
    /// Adds a contestant, which runs `n` operations and returns how long they took. The first one added is the one that
    /// the table compares the others with.
    pub fn add(&mut self, name: &'static str, measure: impl FnMut(u32) -> Duration + 'static) -> &mut Self {
        let mut measure = measure;
        self.add_fallible(name, move |n| Ok(Sample::of(n, measure(n))))
    }

    /// Does the same as [`add`](Self::add) for a measurement that can fail, or finds more than a time.
    pub fn add_fallible(
        &mut self,
        name: &'static str,
        measure: impl FnMut(u32) -> Result<Sample, Failure> + 'static,
    ) -> &mut Self {
        assert!(self.contestants.iter().all(|c| c.name != name), "{}: {name} is added twice", self.id);
        self.contestants.push(Contestant { name, link: None, measure: Box::new(measure) });
        self
    }

    /// Sets the link to the recommendation that the contestant added last follows.
    pub fn link(&mut self, url: &'static str) -> &mut Self {
        self.contestants.last_mut().expect("link follows add").link = Some(url);
        self
    }

    /// Sets a bound between `first` and `second`, two names given to [`add`](Self::add).
    pub fn claim(&mut self, first: &'static str, second: &'static str, bound: Bound) -> &mut Self {
        self.claims.push(Claim { first, second: Some(second), bound });
        self
    }

    /// Sets the cost that `first` must not exceed, whatever the others cost.
    pub fn limit(&mut self, first: &'static str, most: f64) -> &mut Self {
        self.claims.push(Claim { first, second: None, bound: Bound::AtMost(most) });
        self
    }

    /// Interleaves more finely: multiplies the number of rounds by `parts`, and divides the operations of each round by
    /// it. This is for cases in which a neighbour on the machine affects one long run and not the next.
    pub fn parts(&mut self, parts: u32) -> &mut Self {
        self.parts = parts;
        self
    }

    /// Sets the unit of the costs.
    pub fn unit(&mut self, unit: Unit) -> &mut Self {
        self.unit = unit;
        self
    }

    /// Names the two values of each sample, both in the unit; the ratio is that of the first.
    pub fn columns(&mut self, first: &'static str, second: &'static str) -> &mut Self {
        self.columns = Some([first, second]);
        self
    }

    /// Prints the contestants named `A to B` as a matrix, from rows to columns.
    pub fn matrix(&mut self) -> &mut Self {
        self.is_matrix = true;
        self
    }

    /// Returns the id, by which [`Suite::comparison`] finds it.
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// Returns the names of the contestants, in the order in which they were added.
    pub fn names(&self) -> Vec<&'static str> {
        self.contestants.iter().map(|c| c.name).collect()
    }

    fn run(&mut self, effort: Effort, progress: &mut impl FnMut(&'static str, u32, u32)) -> Outcome {
        for claim in &self.claims {
            for name in [Some(claim.first), claim.second].into_iter().flatten() {
                assert!(self.contestants.iter().any(|c| c.name == name), "{}: a claim on unknown {name}", self.id);
            }
        }
        let count = self.contestants.len();
        let n = (self.operations / effort.divisor / self.parts).max(10);
        let mut found: Vec<Result<Vec<Sample>, String>> = (0..count).map(|_| Ok(Vec::new())).collect();
        let rounds = effort.rounds * self.parts;
        for round in 0..rounds {
            progress(self.id, round + 1, rounds);
            for position in 0..count {
                let turned = (position + round as usize / 2) % count;
                let index = if round % 2 == 0 { turned } else { count - 1 - turned };
                let Ok(samples) = &mut found[index] else { continue };
                match (self.contestants[index].measure)(n) {
                    Ok(sample) => samples.push(sample),
                    Err(failure) => found[index] = Err(failure.to_string()),
                }
            }
        }
        let rows = self.contestants.iter().zip(&found);
        let reference = found.first().and_then(|first| first.as_ref().ok());
        let rows = rows.map(|(contestant, samples)| Row {
            name: contestant.name,
            link: contestant.link,
            figures: samples.as_ref().map_err(Clone::clone).map(|samples| Figures {
                cost: Spread::of(samples.iter().map(|s| s.cost)).expect("at least one round"),
                rate: Spread::of(samples.iter().map(|s| s.rate)).expect("at least one round"),
                ratio: reference.and_then(|reference| cost_ratio(samples, reference)),
            }),
        });
        let rows = rows.collect();
        let samples_of = |name| {
            let index = self.contestants.iter().position(|c| c.name == name)?;
            found[index].as_ref().ok()
        };
        let verdicts = self.claims.iter().map(|claim| {
            let (first, second) = (samples_of(claim.first), claim.second.and_then(samples_of));
            let found = match claim.bound {
                Bound::CostAtMost(_) => first.zip(second).and_then(|(first, second)| cost_ratio(first, second)),
                Bound::SpeedAtLeast(_) => first.zip(second).and_then(|(first, second)| cost_ratio(second, first)),
                Bound::AtMost(_) => first.and_then(|first| Spread::of(first.iter().map(|s| s.cost))),
            };
            Verdict { first: claim.first, second: claim.second, bound: claim.bound, found }
        });
        let verdicts = verdicts.collect();
        Outcome {
            id: self.id,
            question: self.question,
            rounds,
            operations: n,
            unit: self.unit,
            columns: self.columns,
            is_matrix: self.is_matrix,
            rows,
            verdicts,
        }
    }
}

/// Returns the ratio of the cost of `of` to that of `to`, round by round.
fn cost_ratio(of: &[Sample], to: &[Sample]) -> Option<Spread> {
    Spread::of(of.iter().zip(to).map(|(of, to)| of.cost / to.cost))
}

/// The thoroughness of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How often each contestant runs.
    pub rounds: u32,
    /// The divisor of the number of operations.
    pub divisor: u32,
}

impl Default for Effort {
    fn default() -> Self {
        Self { rounds: 7, divisor: 1 }
    }
}

impl Effort {
    /// Returns the effort for a quick look.
    pub fn quick() -> Self {
        Self { rounds: 3, divisor: 20 }
    }
}

/// All comparisons.
#[derive(Debug, Default)]
pub struct Suite(Vec<Comparison>);

impl Suite {
    /// Adds a comparison; `question` is printed above its table, `operations` is how many a contestant runs in a round.
    pub fn compare(&mut self, id: &'static str, operations: u32, question: &'static str) -> &mut Comparison {
        assert!(self.0.iter().all(|c| c.id != id), "{id} is added twice");
        let (contestants, claims) = (Vec::new(), Vec::new());
        let unit = Unit::default();
        self.0.push(Comparison {
            id,
            question,
            operations,
            parts: 1,
            unit,
            columns: None,
            is_matrix: false,
            contestants,
            claims,
        });
        self.0.last_mut().expect("just pushed")
    }

    /// Returns the comparison of that id.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn comparison(&mut self, id: &str) -> &mut Comparison {
        self.0.iter_mut().find(|c| c.id == id).unwrap_or_else(|| panic!("no comparison {id}"))
    }

    /// Returns all comparisons.
    pub fn comparisons(&self) -> &[Comparison] {
        &self.0
    }

    /// Drops the comparisons whose id doesn't contain `text`.
    pub fn keep(&mut self, text: &str) {
        self.0.retain(|c| c.id.contains(text));
    }

    /// Runs all comparisons; `progress` is told the id, the round, and the number of rounds.
    pub fn run(&mut self, effort: Effort, mut progress: impl FnMut(&'static str, u32, u32)) -> Vec<Outcome> {
        self.0.iter_mut().map(|comparison| comparison.run(effort, &mut progress)).collect()
    }
}

/// The findings of a comparison.
#[derive(Debug)]
pub struct Outcome {
    /// The id, as given to [`Suite::compare`].
    pub id: &'static str,
    /// The question, as given to [`Suite::compare`].
    pub question: &'static str,
    /// How often each contestant ran.
    pub rounds: u32,
    /// How many operations each contestant ran in a round.
    pub operations: u32,
    /// The unit of the costs.
    pub unit: Unit,
    /// The names given to [`Comparison::columns`].
    pub columns: Option<[&'static str; 2]>,
    /// Whether the contestants named `A to B` are a matrix.
    pub is_matrix: bool,
    /// A row for each contestant, in the order in which they were added.
    pub rows: Vec<Row>,
    /// A verdict for each claim.
    pub verdicts: Vec<Verdict>,
}

impl Outcome {
    /// Whether a measurement failed.
    pub fn broken(&self) -> bool {
        self.rows.iter().any(|row| row.figures.is_err())
    }
}

/// The findings about one contestant.
#[derive(Debug)]
pub struct Row {
    /// The contestant's name.
    pub name: &'static str,
    /// The link to the recommendation that it follows.
    pub link: Option<&'static str>,
    /// The figures, or why there are none.
    pub figures: Result<Figures, String>,
}

/// The figures of one contestant over all rounds.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// The cost of an operation.
    pub cost: Spread,
    /// Operations per second, or as set by [`Comparison::columns`].
    pub rate: Spread,
    /// The cost relative to the first contestant's.
    pub ratio: Option<Spread>,
}

/// Whether a claim held.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// The contestant that the claim is about.
    pub first: &'static str,
    /// The contestant that it is compared with; `None` if the bound stands alone.
    pub second: Option<&'static str>,
    /// The bound.
    pub bound: Bound,
    /// The ratio of cost or of speed, or the cost, as the bound requires; `None` if one of the two measurements failed.
    pub found: Option<Spread>,
}

impl Verdict {
    /// Whether the median satisfies the bound.
    pub fn holds(&self) -> bool {
        match (self.bound, self.found) {
            (Bound::CostAtMost(limit) | Bound::AtMost(limit), Some(found)) => found.median <= limit,
            (Bound::SpeedAtLeast(limit), Some(found)) => found.median >= limit,
            (_, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn every_contestant_runs_once_a_round_and_the_order_changes() {
        let order = Rc::new(RefCell::new(String::new()));
        let mut suite = Suite::default();
        let comparison = suite.compare("order", 100, "?");
        for name in ["a", "b", "c"] {
            let order = order.clone();
            comparison.add(name, move |n| {
                order.borrow_mut().push_str(name);
                Duration::from_nanos(u64::from(n))
            });
        }
        suite.run(Effort { rounds: 4, divisor: 1 }, |_, _, _| ());
        assert_eq!(*order.borrow(), "abccbabcabac");
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_claims_judged_by_their_median() {
        let mut suite = Suite::default();
        let mut slow = [1, 10, 100].into_iter();
        let mut fast = [2, 20, 200].into_iter();
        suite
            .compare("ratio", 10, "?")
            .add("theirs", move |n| Duration::from_nanos(slow.next().unwrap() * u64::from(n)))
            .add("ours", move |n| Duration::from_nanos(fast.next().unwrap() * u64::from(n)))
            .claim("ours", "theirs", Bound::CostAtMost(2.0))
            .claim("ours", "theirs", Bound::CostAtMost(1.9))
            .claim("ours", "theirs", Bound::SpeedAtLeast(0.5))
            .claim("ours", "theirs", Bound::SpeedAtLeast(0.6))
            .limit("ours", 20.0)
            .limit("ours", 19.0);
        let outcomes = suite.run(Effort { rounds: 3, divisor: 1 }, |_, _, _| ());
        let held: Vec<bool> = outcomes[0].verdicts.iter().map(Verdict::holds).collect();
        assert_eq!(held, [true, false, true, false, true, false]);
        assert_eq!(outcomes[0].rows[1].figures.as_ref().unwrap().ratio.unwrap().high, 2.0);
    }

    #[test]
    fn a_contestant_that_fails_leaves_the_others_alone() {
        let mut suite = Suite::default();
        suite
            .compare("failure", 10, "?")
            .add("well", |n| Duration::from_nanos(u64::from(n)))
            .add_fallible("ill", |_| Err("no such program".into()))
            .claim("ill", "well", Bound::CostAtMost(1.0));
        let outcomes = suite.run(Effort { rounds: 2, divisor: 1 }, |_, _, _| ());
        assert!(outcomes[0].broken());
        assert!(!outcomes[0].verdicts[0].holds());
        assert_eq!(outcomes[0].rows[0].figures.as_ref().unwrap().cost.median, 1.0);
        assert_eq!(outcomes[0].rows[1].figures.as_ref().unwrap_err(), "no such program");
    }
}
