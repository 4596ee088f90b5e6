//! The input of a simulated service: a plan, the behaviour of its loops and tasks, and the requests.

use std::{fmt, time::Duration};

use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{
    lifecycle::{Event, LoopId, LoopPlan, Outcome, Plan, RestartPolicy, TaskId, TaskPlan},
    words::{restart::When, state::Reason},
};

/// A time in milliseconds.
pub(super) type Ms = u64;

/// A whole run, except for the clock. It prints as a few lines.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) plan: Plan,
    /// The nth incarnation of a task lives its nth life; those after the last life repeat it.
    pub(super) lives: Vec<Vec<Life>>,
    pub(super) loops: Vec<Vec<LoopLife>>,
    pub(super) requests: Vec<(Ms, Request)>,
    /// A stop is requested before the start.
    pub(super) latched: bool,
    /// Ticks come this late.
    pub(super) late: Ms,
    /// The clock also ticks when nothing is due.
    pub(super) probes: bool,
    /// When a loop dies, the ends of its tasks are reported after it; and each event is repeated, too late.
    pub(super) ghosts: bool,
}

/// The behaviour of an incarnation of a task.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) begin: Begin,
    /// It ends by itself this long after it was ready.
    pub(super) ends: Option<(Ms, Outcome)>,
    /// It ends this long after it was asked to.
    pub(super) asked: Option<(Ms, Outcome)>,
    pub(super) cancelled: Cancelled,
}

#[derive(Clone, Debug)]
pub(super) enum Begin {
    Ready(Ms),
    Never,
    Ends(Ms, Outcome),
}

#[derive(Clone, Debug)]
pub(super) enum Cancelled {
    Ends(Ms, Outcome),
    /// Its loop is stuck, forever or for this long.
    Stuck(Option<Ms>),
}

/// The behaviour of an incarnation of a loop.
#[derive(Clone, Debug)]
pub(super) struct LoopLife {
    pub(super) start: Start,
    /// It dies this long after it had started.
    pub(super) dies: Option<(Ms, Result<(), String>)>,
    /// It ends this long after it was told to.
    pub(super) stop: Option<(Ms, Result<(), String>)>,
}

#[derive(Clone, Debug)]
pub(super) enum Start {
    After(Ms),
    Fails(Ms),
    Never,
}

#[derive(Clone, Debug)]
pub(super) enum Request {
    Shutdown,
    Term,
    Hard,
    StopTask(TaskId),
    RestartTask(TaskId),
    RestartService,
}

impl Request {
    pub(super) fn event(&self, at: Ms) -> Event {
        match *self {
            Self::Shutdown => Event::ShutdownRequested(Reason::from(format!("at {at}"))),
            Self::Term => Event::ShutdownRequested(Reason::Signal(15)),
            Self::Hard => Event::HardStop(2),
            Self::StopTask(task) => Event::StopTask(task),
            Self::RestartTask(task) => Event::RestartTask(task),
            Self::RestartService => Event::RestartService,
        }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, lives, loops, requests, latched, late, probes, ghosts } = self;
        writeln!(
            f,
            "\n  service: drain {:?}, shutdown timeout {:?}, seed {}; latched {latched}, late {late}, probes {probes}, ghosts {ghosts}",
            plan.drain_delay, plan.shutdown_timeout, plan.seed
        )?;
        for (each, lives) in plan.loops.iter().zip(loops) {
            writeln!(f, "  loop {}: {}", each.name, Policy(&each.restart))?;
            lives.iter().try_for_each(|life| writeln!(f, "      {life:?}"))?;
        }
        for (task, lives) in plan.tasks.iter().zip(lives) {
            write!(
                f,
                "  task {} on l{}: requires {:?}, after {:?}",
                task.name, task.event_loop, task.requires, task.after
            )?;
            write!(f, ", start {:?}, stop {:?}, {}", task.start_timeout, task.stop_timeout, Policy(&task.restart))?;
            writeln!(
                f,
                "{}{}",
                if task.last { ", last" } else { "" },
                if task.restartable { ", restartable" } else { "" }
            )?;
            lives.iter().try_for_each(|life| writeln!(f, "      {life:?}"))?;
        }
        requests.iter().try_for_each(|(at, request)| writeln!(f, "  at {at} ms: {request:?}"))
    }
}

struct Policy<'a>(&'a RestartPolicy);

impl fmt::Display for Policy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RestartPolicy { when, first, longest, quiet, limit, window, dependents, .. } = self.0;
        if *when == When::Never {
            return f.write_str("never restarted");
        }
        write!(f, "restart {when:?} {first:?}..{longest:?} quiet {quiet:?}, {limit} in {window:?}")?;
        f.write_str(if *dependents { ", with dependents" } else { "" })
    }
}

fn ms(time: Ms) -> Duration {
    Duration::from_millis(time)
}

/// Generates delays, many of them at the edges of the timeouts below.
fn delay() -> impl Strategy<Value = Ms> {
    select(vec![0, 0, 1, 10, 20, 50, 100, 100, 200, 300, 500, 900, 1000, 1100, 2000, 5000])
}

fn timeout() -> impl Strategy<Value = Duration> {
    select(vec![50, 100, 300, 500, 1000, 3000, 10_000, 30_000]).prop_map(ms)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let words = |text: &str| text.to_owned();
    select(vec![
        Outcome::Ok,
        Outcome::Ok,
        Outcome::Ok,
        Outcome::Error(words("broken")),
        Outcome::Error(words("broken")),
        Outcome::Skip(words("not here")),
        Outcome::Panicked(words("oh")),
        Outcome::Dropped,
    ])
}

fn policy() -> impl Strategy<Value = RestartPolicy> {
    let when = prop_oneof![3 => Just(When::Never), 2 => Just(When::OnFailure), 1 => Just(When::Always)];
    let backoff = (select(vec![10, 100, 300]), select(vec![100, 300, 1000, 10_000]));
    let limit = (0..5_u32, select(vec![200, 1000, 5000, 60_000]));
    (when, backoff, limit, select(vec![50, 500, 5000]), prop::bool::weighted(0.3)).prop_map(
        |(when, (first, longest), (limit, window), quiet, dependents)| {
            let policy = match when {
                When::Never => return RestartPolicy::never(),
                When::OnFailure => RestartPolicy::on_failure(),
                When::Always => RestartPolicy::always(),
            };
            let policy = policy.backoff(ms(first), ms(longest.max(first))).limit(limit, ms(window)).quiet(ms(quiet));
            if dependents { policy.with_dependents() } else { policy }
        },
    )
}

/// Generates a plan that passes the checks at build time.
pub(super) fn plan() -> impl Strategy<Value = Plan> {
    let task = (
        (0..3_usize, any::<u8>(), any::<[u8; 2]>(), any::<[u8; 2]>(), prop::bool::weighted(0.2)),
        (timeout(), timeout(), policy(), any::<bool>()),
    );
    let loops = vec(prop_oneof![2 => Just(RestartPolicy::never()), 1 => policy()], 1..=3);
    let times = (select(vec![0, 0, 100, 1000, 3000]), select(vec![100, 500, 1000, 3000, 25_000]), 0..1000_u64);
    (vec(task, 1..=8), loops, times, prop::bool::weighted(0.7)).prop_map(
        |(drawn, loops, (drain, shutdown, seed), restartable)| {
            // A task depends only on those of a lower rank: no cycle. Each mask is the common bits of two bytes, so
            // edges are few.
            let ranks: Vec<_> = drawn.iter().enumerate().map(|(id, ((_, rank, ..), _))| (*rank, id)).collect();
            let with_dependents = drawn.iter().any(|(_, (_, _, policy, _))| policy.dependents);
            let tasks = drawn.iter().enumerate().map(|(id, ((on, _, requires, after, last), settings))| {
                let (start_timeout, stop_timeout, restart, own) = settings.clone();
                let picked =
                    |mask: &[u8; 2], other: TaskId| mask[0] & mask[1] & (1 << other) != 0 && ranks[other] < ranks[id];
                let requires: Vec<_> =
                    (0..drawn.len()).filter(|&other| picked(requires, other) && (!last || drawn[other].0.4)).collect();
                let after =
                    (0..drawn.len()).filter(|&other| picked(after, other) && !requires.contains(&other)).collect();
                let event_loop = on % loops.len();
                let needed = restart.when != When::Never || loops[event_loop].when != When::Never || with_dependents;
                TaskPlan {
                    name: format!("t{id}").into(),
                    event_loop,
                    requires,
                    after,
                    last: *last,
                    start_timeout,
                    stop_timeout,
                    restart,
                    restartable: restartable || own || needed,
                }
            });
            Plan {
                tasks: tasks.collect(),
                loops: loops
                    .iter()
                    .enumerate()
                    .map(|(id, restart)| LoopPlan { name: format!("l{id}").into(), restart: restart.clone() })
                    .collect(),
                drain_delay: ms(drain),
                shutdown_timeout: ms(shutdown),
                seed,
            }
        },
    )
}

fn life() -> impl Strategy<Value = Life> {
    let begin = prop_oneof![
        12 => delay().prop_map(Begin::Ready),
        1 => Just(Begin::Never),
        2 => (delay(), outcome()).prop_map(|(at, outcome)| Begin::Ends(at, outcome)),
    ];
    let ends = option::weighted(0.2, (delay(), outcome()));
    let asked = option::weighted(0.8, (delay(), outcome()));
    let cancelled = prop_oneof![
        3 => (delay(), prop_oneof![4 => Just(Outcome::Dropped), 1 => outcome()]).prop_map(|(at, end)| Cancelled::Ends(at, end)),
        1 => option::of(delay()).prop_map(Cancelled::Stuck),
    ];
    (begin, ends, asked, cancelled).prop_map(|(begin, ends, asked, cancelled)| Life { begin, ends, asked, cancelled })
}

fn loop_life() -> impl Strategy<Value = LoopLife> {
    let result = || prop_oneof![Just(Ok(())), Just(Err("broken".to_owned()))];
    let start = prop_oneof![
        20 => delay().prop_map(Start::After),
        1 => delay().prop_map(Start::Fails),
        1 => Just(Start::Never),
    ];
    let stop = option::weighted(0.9, (delay(), prop_oneof![5 => Just(Ok(())), 1 => result()]));
    let dies = option::weighted(0.1, (delay(), result()));
    (start, dies, stop).prop_map(|(start, dies, stop)| LoopLife { start, dies, stop })
}

fn request(tasks: usize) -> impl Strategy<Value = Request> {
    prop_oneof![
        2 => Just(Request::Shutdown),
        2 => Just(Request::Term),
        1 => Just(Request::Hard),
        3 => (0..tasks).prop_map(Request::StopTask),
        3 => (0..tasks).prop_map(Request::RestartTask),
        1 => Just(Request::RestartService),
    ]
}

pub(super) fn script() -> impl Strategy<Value = Script> {
    plan().prop_flat_map(|plan| {
        let (tasks, loops) = (plan.tasks.len(), plan.loops.len());
        let requests = vec((prop_oneof![delay(), 0..1000_u64, 0..6000_u64], request(tasks)), 0..5);
        let how = (prop::bool::weighted(0.02), select(vec![0, 0, 0, 3, 40]), any::<bool>(), any::<bool>());
        (Just(plan), vec(vec(life(), 1..4), tasks), vec(vec(loop_life(), 1..3), loops), requests, how).prop_map(
            |(plan, lives, loops, requests, (latched, late, probes, ghosts))| Script {
                plan,
                lives,
                loops,
                requests,
                latched,
                late,
                probes,
                ghosts,
            },
        )
    })
}

/// Generates events that no world would send in this order.
pub(super) fn noise(tasks: usize, loops: usize) -> impl Strategy<Value = Vec<(Ms, Event)>> {
    let task = 0..tasks as TaskId;
    let on = 0..loops as LoopId;
    let run = 0..4_u32;
    let result = prop_oneof![Just(Ok(())), Just(Err("broken".to_owned()))];
    let event = prop_oneof![
        2 => Just(Event::Start),
        6 => (on.clone(), run.clone()).prop_map(|(id, run)| Event::LoopStarted(id, run)),
        1 => (on, run.clone(), result).prop_map(|(id, run, result)| Event::LoopEnded(id, run, result)),
        8 => (task.clone(), run.clone()).prop_map(|(id, run)| Event::TaskReady(id, run)),
        6 => (task, run, outcome()).prop_map(|(id, run, outcome)| Event::TaskEnded(id, run, outcome)),
        2 => request(tasks).prop_map(|request| request.event(0)),
        6 => Just(Event::Tick),
    ];
    vec((delay(), event), 0..60)
}
