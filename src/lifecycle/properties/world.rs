//! A world that performs the machine's actions as a script says, on a clock that jumps to the next event.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use super::{
    INVARIANTS, Invariant,
    drawn::{Step, of_service, of_task},
    observed::{Observed, Point},
    script::{Begin, Cancelled, LoopLife, Script, Start},
};
use crate::lifecycle::{Action, Event, Lifecycle, LoopId, Mutant, Now, Outcome, TaskId};

/// When a service that is still up is asked to stop.
const LONG: (usize, Now) = (300, Duration::from_secs(40));

/// The violated invariant, and the history until then.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) invariant: &'static str,
    pub(super) words: String,
    pub(super) log: String,
}

/// The machine under test with its observer.
pub(super) struct Watched {
    machine: Lifecycle,
    pub(super) seen: Observed,
    invariants: &'static [Invariant],
    log: String,
    /// All that it did so far.
    steps: BTreeSet<Step>,
}

impl Watched {
    pub(super) fn new(script: &Script, mutant: Option<Mutant>, invariants: &'static [Invariant]) -> Self {
        let mut machine = Lifecycle::new(script.plan.clone());
        machine.mutant = mutant;
        let seen = Observed::new(script.plan.clone(), Duration::from_millis(script.late));
        Self { machine, seen, invariants, log: String::new(), steps: BTreeSet::new() }
    }

    /// Sends an event to the machine, and checks all its answers.
    pub(super) fn handle(&mut self, now: Now, event: Event) -> Result<Vec<Action>, Violation> {
        let _ = writeln!(self.log, "  {now:?} {event:?}");
        self.check(Point::Event(&event))?;
        self.seen.before(now, &event);
        let phases_before = self.machine.phases.len();
        let actions = self.machine.handle(now, event);
        self.steps.extend(actions.iter().filter_map(of_task));
        self.steps.extend(of_service(&self.machine.phases[phases_before - 1..], &actions));
        for action in &actions {
            let _ = match action {
                Action::Transition(step) => writeln!(
                    self.log,
                    "      {}#{} {} -> {}: {}",
                    step.task, step.incarnation, step.from, step.to, step.cause
                ),
                other => writeln!(self.log, "      {other:?}"),
            };
        }
        for action in &actions {
            self.check(Point::Action(action))?;
            self.seen.apply(action);
        }
        let tasks = 0..self.seen.tasks.len();
        self.seen.says = tasks.map(|id| (self.machine.state(id), self.machine.incarnation(id))).collect();
        self.check(Point::End)?;
        self.seen.after();
        if self.machine.is_finished() != self.seen.finished.is_some() {
            return Err(self.violation("finishes", "is_finished() does not say what was announced".to_owned()));
        }
        if let Some(deadline) = self.machine.next_deadline().filter(|&deadline| deadline <= now) {
            return Err(self.violation("deadlines_are_due", format!("{deadline:?} has passed and is still there")));
        }
        Ok(actions)
    }

    fn check(&self, point: Point<'_>) -> Result<(), Violation> {
        let failed = self.invariants.iter().find_map(|(name, holds)| Some((*name, holds(&self.seen, point).err()?)));
        failed.map_or(Ok(()), |(name, words)| Err(self.violation(name, words)))
    }

    fn violation(&self, invariant: &'static str, words: String) -> Violation {
        Violation { invariant, words, log: self.log.clone() }
    }
}

/// Something that happens at a time.
#[derive(Clone, Debug)]
enum Coming {
    /// From this loop's thread; after a death also from nowhere.
    From(LoopId, u32, Event, Sent),
    Request(Event),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Living,
    Ghost,
}

#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    incarnation: u32,
    alive: bool,
    /// It does not act until then.
    stuck: Option<Now>,
}

struct World<'a> {
    script: &'a Script,
    watched: Watched,
    now: Now,
    coming: BTreeMap<(Now, usize), Coming>,
    sequence: usize,
    threads: Vec<Thread>,
    /// The living incarnation of each task.
    lives: Vec<Option<u32>>,
}

/// Runs the script to its end.
pub(super) fn run(script: &Script, mutant: Option<Mutant>) -> Result<(), Violation> {
    World::new(script, Watched::new(script, mutant, INVARIANTS)).run()
}

/// Returns what the machine did in a run of the script, unchecked.
pub(super) fn steps(script: &Script) -> BTreeSet<Step> {
    let mut world = World::new(script, Watched::new(script, None, &[]));
    let _ = world.run();
    world.watched.steps
}

impl<'a> World<'a> {
    fn new(script: &'a Script, watched: Watched) -> Self {
        Self {
            script,
            watched,
            now: Now::ZERO,
            coming: BTreeMap::new(),
            sequence: 0,
            threads: vec![Thread::default(); script.loops.len()],
            lives: vec![None; script.lives.len()],
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        let script = self.script;
        if script.latched {
            self.tell(Event::ShutdownRequested("latched".into()))?;
        }
        for (at, request) in &script.requests {
            self.plan_at(Duration::from_millis(*at), Coming::Request(request.event(*at)));
        }
        self.tell(Event::Start)?;
        let mut asked = false;
        for step in 0.. {
            if self.watched.machine.is_finished() {
                break;
            }
            let idle = !self.step()?;
            if idle && asked {
                return Err(self.watched.violation("finishes", "nothing is to come and nothing is due".to_owned()));
            }
            if !asked && (idle || step > LONG.0 || self.now > LONG.1) {
                asked = true;
                self.plan_at(self.now, Coming::Request(Event::ShutdownRequested("the end of the script".into())));
            }
            if step > 10 * LONG.0 {
                return Err(self.watched.violation("finishes", "it is never quiet".to_owned()));
            }
        }
        // Events after the end.
        while self.step()? {}
        Ok(())
    }

    fn plan_at(&mut self, at: Now, coming: Coming) {
        self.sequence += 1;
        self.coming.insert((at, self.sequence), coming);
    }

    /// Performs the next event; returns false if there is none.
    fn step(&mut self) -> Result<bool, Violation> {
        let due = self.watched.machine.next_deadline();
        let next = self.coming.first_key_value().map(|((at, _), _)| *at);
        let Some(first) = due.into_iter().chain(next).min() else { return Ok(false) };
        if self.script.probes && first > self.now {
            let early = self.now + (first - self.now) / 2;
            let actions = self.watched.handle(early, Event::Tick)?;
            if !actions.is_empty() || self.watched.machine.next_deadline() != due {
                return Err(self
                    .watched
                    .violation("deadlines_are_due", format!("a tick before {due:?} did something")));
            }
        }
        let tick = due.map(|due| due + Duration::from_millis(self.script.late));
        match (tick, next) {
            (Some(tick), next) if next.is_none_or(|next| tick <= next && !self.mixes()) => self.tick(tick)?,
            (Some(tick), Some(next)) if tick < next => self.tick(tick)?,
            // Events that change the rules of what is due come after it.
            (_, Some(next)) if due.is_some_and(|due| due <= next) && !self.mixes() => self.tick(next)?,
            (_, Some(next)) => self.next(next)?,
            (_, None) => return Ok(false),
        }
        Ok(true)
    }

    /// Whether the next event may be sent in the same call as due deadlines.
    fn mixes(&self) -> bool {
        let next = self.coming.first_key_value().map(|(_, coming)| coming);
        let Some(Coming::From(_, _, event, _)) = next else { return false };
        matches!(event, Event::TaskReady(..) | Event::TaskEnded(..) | Event::LoopStarted(..))
    }

    fn tick(&mut self, at: Now) -> Result<(), Violation> {
        self.now = self.now.max(at);
        let before = self.watched.machine.next_deadline();
        let actions = self.tell(Event::Tick)?;
        if actions == 0 && before.is_some_and(|due| due <= self.now && !self.may_be_moot(due)) {
            return Err(self.watched.violation("deadlines_are_due", format!("nothing happened at {before:?}")));
        }
        Ok(())
    }

    /// Whether a due deadline may have no effect: at the last moment, or at the end of the drain, all may be cancelled
    /// already; at the end of a backoff another requirement may be missing.
    fn may_be_moot(&self, due: Now) -> bool {
        let seen = &self.watched.seen;
        let drained = seen.stop.as_ref().map(|(at, _)| *at + seen.plan.drain_delay);
        seen.last_moment() == Some(due) || drained == Some(due) || seen.tasks.iter().any(|task| task.not_before == due)
    }

    fn next(&mut self, at: Now) -> Result<(), Violation> {
        let Some((_, coming)) = self.coming.pop_first() else { return Ok(()) };
        self.now = self.now.max(at);
        let (id, incarnation, event, sent) = match coming {
            Coming::Request(event) => return self.tell(event).map(drop),
            Coming::From(id, incarnation, event, sent) => (id, incarnation, event, sent),
        };
        let thread = self.threads[id];
        if sent == Sent::Living {
            if thread.incarnation != incarnation || !thread.alive {
                return Ok(());
            }
            if let Some(until) = thread.stuck.filter(|&until| until > self.now) {
                if until < Now::MAX {
                    self.plan_at(until, Coming::From(id, incarnation, event, sent));
                }
                return Ok(());
            }
            match &event {
                Event::TaskReady(task, run) if self.lives[*task] != Some(*run) => return Ok(()),
                Event::TaskEnded(task, run, _) if self.lives[*task].take_if(|life| life == run).is_none() => {
                    return Ok(());
                }
                Event::LoopEnded(..) => self.bury(id, incarnation),
                _ => {}
            }
            if self.script.ghosts {
                let later = self.now + Duration::from_millis(150);
                self.plan_at(later, Coming::From(id, incarnation, event.clone(), Sent::Ghost));
            }
        }
        self.tell(event).map(drop)
    }

    /// Ends the loop's thread, and its tasks with it.
    fn bury(&mut self, id: LoopId, incarnation: u32) {
        self.threads[id].alive = false;
        for task in 0..self.lives.len() {
            if self.script.plan.tasks[task].event_loop != id {
                continue;
            }
            let Some(run) = self.lives[task].take() else { continue };
            if self.script.ghosts {
                let event = Event::TaskEnded(task, run, Outcome::Dropped);
                self.plan_at(self.now, Coming::From(id, incarnation, event, Sent::Ghost));
            }
        }
    }

    fn tell(&mut self, event: Event) -> Result<usize, Violation> {
        let actions = self.watched.handle(self.now, event)?;
        actions.iter().for_each(|action| self.perform(action));
        Ok(actions.len())
    }

    fn loop_sends(&mut self, id: LoopId, after: u64, event: Event) {
        let incarnation = self.threads[id].incarnation;
        self.plan_at(self.now + Duration::from_millis(after), Coming::From(id, incarnation, event, Sent::Living));
    }

    fn loop_life(&self, id: LoopId, incarnation: u32) -> LoopLife {
        nth(&self.script.loops[id], incarnation).clone()
    }

    fn perform(&mut self, action: &Action) {
        match *action {
            Action::StartLoop(id, incarnation) => {
                self.threads[id] = Thread { incarnation, alive: true, stuck: None };
                let life = self.loop_life(id, incarnation);
                match life.start {
                    Start::After(delay) => {
                        self.loop_sends(id, delay, Event::LoopStarted(id, incarnation));
                        if let Some((after, result)) = life.dies {
                            self.loop_sends(id, delay + after, Event::LoopEnded(id, incarnation, result));
                        }
                    }
                    Start::Fails(delay) => {
                        let result = Err("it can't start".to_owned());
                        self.loop_sends(id, delay, Event::LoopEnded(id, incarnation, result));
                    }
                    Start::Never => {}
                }
            }
            Action::StopLoop(id, incarnation, ..) => {
                if let Some((delay, result)) = self.loop_life(id, incarnation).stop {
                    self.loop_sends(id, delay, Event::LoopEnded(id, incarnation, result));
                }
            }
            Action::StartTask(task, incarnation) => self.start(task, incarnation),
            Action::AskTask(task, incarnation, ..) => {
                if let Some((delay, outcome)) = nth(&self.script.lives[task], incarnation).asked.clone() {
                    self.task_sends(task, delay, Event::TaskEnded(task, incarnation, outcome));
                }
            }
            Action::CancelTask(task, incarnation) => match nth(&self.script.lives[task], incarnation).cancelled.clone()
            {
                Cancelled::Ends(delay, outcome) => {
                    self.task_sends(task, delay, Event::TaskEnded(task, incarnation, outcome));
                }
                Cancelled::Stuck(time) => {
                    let until = time.map_or(Now::MAX, |time| self.now + Duration::from_millis(time));
                    self.threads[self.script.plan.tasks[task].event_loop].stuck = Some(until);
                    self.task_sends(task, 0, Event::TaskEnded(task, incarnation, Outcome::Dropped));
                }
            },
            _ => {}
        }
    }

    fn task_sends(&mut self, task: TaskId, after: u64, event: Event) {
        self.loop_sends(self.script.plan.tasks[task].event_loop, after, event);
    }

    fn start(&mut self, task: TaskId, incarnation: u32) {
        self.lives[task] = Some(incarnation);
        let life = nth(&self.script.lives[task], incarnation).clone();
        match life.begin {
            Begin::Ready(delay) => {
                self.task_sends(task, delay, Event::TaskReady(task, incarnation));
                if let Some((after, outcome)) = life.ends {
                    self.task_sends(task, delay + after, Event::TaskEnded(task, incarnation, outcome));
                }
            }
            Begin::Never => {}
            Begin::Ends(delay, outcome) => {
                self.task_sends(task, delay, Event::TaskEnded(task, incarnation, outcome));
            }
        }
    }
}

fn nth<T>(lives: &[T], incarnation: u32) -> &T {
    &lives[(incarnation.max(1) as usize - 1).min(lives.len() - 1)]
}
