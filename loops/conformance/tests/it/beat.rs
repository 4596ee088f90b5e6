//! A loop that wakes by nature: 60 steps a second. It passes all checks once it says so; broken ones are found.

use std::{
    cell::Cell,
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

use interloop::{
    Error, EventLoop, NoOptions, Result,
    event_loop::{Mailbox, Timers, Turn},
    net::{Reactor, ReactorLoop},
};
use interloop_conformance::{Subject, base_checks, beat_checks, check_all, net_checks};

use crate::finding;

const STEP: Duration = Duration::from_nanos(1_000_000_000 / 60);
/// At most this many steps are caught up with.
const MOST: u32 = 5;

/// The one thing that is wrong with a loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    Sound,
    /// It looks at its mailbox when it beats: nobody wakes it.
    WaitsForTheBeat,
    /// It beats three times as often as it says.
    BeatsTooOften,
    /// It never waits for the next beat.
    Spins,
    /// It can't be built: it fails each check at once.
    Unbuilt,
}

/// Waits in the reactor, for a wake or for the next step.
#[derive(Clone, Default)]
struct Beat(Fault);

impl EventLoop for Beat {
    const NAME: &'static str = "beat";
    type Options = NoOptions;
    type Native = Rc<Cell<u32>>;

    fn drive(
        self,
        _: NoOptions,
        mut mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, Rc<Cell<u32>>),
    ) -> Result {
        let Self(fault) = self;
        if fault == Fault::Unbuilt {
            return Err(Error::new("it can't be built"));
        }
        let reactor = Reactor::new()?;
        let waker = reactor.waker()?;
        mailbox.set_notify(move || {
            if fault != Fault::WaitsForTheBeat {
                waker.wake();
            }
        });
        mailbox.use_reactor(&reactor);
        let count = Rc::<Cell<u32>>::default();
        let of_loop = Rc::downgrade(&count);
        let mut clock = mailbox.clock();
        started(&mailbox, count);
        let step = if fault == Fault::BeatsTooOften { STEP / 3 } else { STEP };
        let mut steps = Steps { step, next: clock.now() + step };
        loop {
            match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => reactor.turn()?,
                Turn::Idle if fault == Fault::Spins => reactor.turn()?,
                Turn::Idle => reactor.wait(Some(clock.wait_until(steps.next)))?,
            }
            // One step between two turns, also while it catches up.
            if steps.due(clock.now())
                && let Some(count) = of_loop.upgrade()
            {
                count.set(count.get() + 1);
            }
        }
    }
}

impl Timers for Beat {
    fn sleep(_: &Rc<Cell<u32>>, duration: Duration) -> impl Future<Output = ()> + 'static {
        Reactor::current().expect("the loop has a reactor").sleep(duration)
    }
}

impl ReactorLoop for Beat {}

/// The time at which the next step is due.
struct Steps {
    step: Duration,
    next: Instant,
}

impl Steps {
    /// Whether a step is due now. The times of steps that are too late are forgotten.
    fn due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        if now - self.next >= MOST * self.step {
            self.next = now - (MOST - 1) * self.step;
        }
        self.next += self.step;
        true
    }
}

mod sound {
    use super::{Beat, STEP};

    interloop_conformance::conformance!(Beat::default(), beat: STEP);
    interloop_conformance::http!(Beat::default());
}

fn subject(fault: Fault) -> Subject<Beat> {
    Subject::new(Beat(fault)).with_beat(STEP).with_patience(Duration::from_secs(2))
}

/// Checks that the loop fails this check, with these words.
fn is_found(subject: &Subject<Beat>, name: &str, words: &str) {
    let checks = base_checks().into_iter().chain(net_checks()).chain(beat_checks());
    let check = checks.into_iter().find(|check| check.name == name).expect("there is such a check");
    finding::is_found(words, || finding::run(|| (check.run)(subject)));
}

#[test]
fn one_that_does_not_say_so_is_found_to_wake_up() {
    let subject = Subject::new(Beat::default()).with_patience(Duration::from_secs(2));
    is_found(&subject, "idle_means_idle", "an idle loop wakes up");
    is_found(&subject, "open_sockets_cost_no_wakeups", "open sockets wake the loop");
}

#[test]
fn one_that_beats_more_often_than_it_says_is_found() {
    is_found(&subject(Fault::BeatsTooOften), "idle_means_idle", "an idle loop wakes up more often than once in 16.6");
    is_found(&subject(Fault::BeatsTooOften), "open_sockets_cost_no_wakeups", "open sockets wake the loop");
}

#[test]
fn one_that_spins_between_its_beats_is_found() {
    is_found(&subject(Fault::Spins), "idle_means_idle", "an idle loop spins");
    is_found(&subject(Fault::Spins), "open_sockets_cost_no_wakeups", "it does not come to rest");
    is_found(&subject(Fault::Spins), "it_starts_gets_ready_and_stops", "the loop does not come to rest");
}

#[test]
fn one_whose_mailbox_waits_for_its_beat_is_found() {
    let words = "calls wait for the loop's beat of 16.6";
    is_found(&subject(Fault::WaitsForTheBeat), "a_call_does_not_wait_for_the_beat", words);
}

#[test]
fn the_table_has_a_row_for_the_beat_of_those_that_have_one() {
    let rows = |subject: Subject<Beat>| {
        let rows = check_all(&subject.with_patience(Duration::from_millis(100))).rows.into_iter();
        rows.filter(|row| row.name == "a_call_does_not_wait_for_the_beat").count()
    };
    assert_eq!(rows(Subject::new(Beat(Fault::Unbuilt)).with_beat(STEP)), 1);
    assert_eq!(rows(Subject::new(Beat(Fault::Unbuilt))), 0);
}

#[test]
fn steps_are_caught_up_with_but_for_those_that_are_too_late() {
    let begun = Instant::now();
    let mut steps = Steps { step: STEP, next: begun };
    let mut due = |now| std::iter::from_fn(|| steps.due(now).then_some(())).count();
    assert_eq!(due(begun), 1);
    assert_eq!(due(begun), 0);
    assert_eq!(due(begun + 3 * STEP), 3);
    assert_eq!(due(begun + Duration::from_secs(1)), MOST as usize);
    assert_eq!(due(begun + Duration::from_secs(1)), 0);
    assert_eq!(due(begun + Duration::from_secs(1) + STEP), 1);
}
