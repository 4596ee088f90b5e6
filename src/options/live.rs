//! Options while the service runs: reading them, setting them, rereading them from their files.
//!
//! One lock is held from the check of new values until they are in force, so that changes have an order; files are read
//! before it is taken, by one reload at a time. New values are checked first, by the same parsers and the same replay
//! as at the start; only if all of them are right, the first owner gets its new values.
//!
//! Parsers are user code: they may panic, and they may look at the options. So the lock of the values is never held
//! while one runs.

use std::{cell::Cell, fmt, sync::Arc, task::Waker};

use clap::ArgMatches;

use super::{
    cell::{Applied, OptionCell},
    flag::{Flag, OptionKind, Shape},
    given::{Given, is_masked},
    layers::Sources,
    origin::Origin,
    parse::{Parsed, read},
    plan::Plan,
    replay,
    rereads::Apply,
    section::Owner,
    show::{self, Shown},
    standard::{CoreOptions, LIVE},
    wording::one_line,
};
use crate::{
    kit::{
        panics::catch,
        sync::{Mutex, lock},
    },
    words::names,
};

/// The id of the option by which a task chooses its loop at run time.
pub(crate) const LOOP_ID: &str = "interloop.loop";

/// The target to which the options that every service has are applied.
pub(crate) trait Host {
    /// Whether the log level can be changed.
    fn can_log(&self) -> bool;
    /// Applies the options that can change.
    fn apply(&self, core: &CoreOptions);
}

/// The options of a running service.
pub(crate) struct Live {
    sources: Sources,
    /// Held by a reload.
    reloading: Mutex<()>,
    /// Held by a thread that changes the plans, from the check until everything is in force. Taken after `reloading`.
    changing: Mutex<()>,
    /// Interloop's own, the service's, then those of tasks and loops. The last lock in the order, held briefly.
    plans: Mutex<Vec<Plan>>,
    /// By plan; `None` for Interloop's own and for unused owners.
    cells: Vec<Option<Arc<OptionCell>>>,
}

impl Live {
    /// Returns the live options; `cells` are those of the sections.
    pub(crate) fn new(parsed: Parsed, cells: Vec<Option<Arc<OptionCell>>>) -> Self {
        let Parsed { plans, sources, .. } = parsed;
        Self {
            sources,
            reloading: Mutex::new(()),
            changing: Mutex::new(()),
            plans: Mutex::new(plans),
            cells: std::iter::once(None).chain(cells).collect(),
        }
    }

    /// Returns the options in force of the section at this place.
    pub(crate) fn cell(&self, section: usize) -> Option<&Arc<OptionCell>> {
        self.cells.get(1 + section)?.as_ref()
    }

    pub(crate) fn list(&self) -> Vec<OptionValue> {
        let plans = lock(&self.plans);
        plans.iter().flat_map(|plan| plan.effective().filter_map(|(flag, given)| entry(plan, flag, given))).collect()
    }

    /// Sets an option or, for `None`, resets a value that was set.
    pub(crate) fn set(&self, name: &str, value: Option<String>, host: &dyn Host) -> Result<Applied, OptionError> {
        let checking = Checking::begin()?;
        let changing = lock(&self.changing);
        let (at, index, old) = {
            let plans = lock(&self.plans);
            let (at, index) = find(&plans, name).ok_or_else(|| OptionError::unknown(name, &plans))?;
            (at, index, plans[at].clone())
        };
        let flag = &old.flags[index];
        if let Some(why) = fixed(&old, flag, host) {
            return Err(OptionError::refused(why));
        }
        let given = value.map(|value| Given::text(Origin::Set, value).accepted(flag)).transpose();
        let mut new = old.clone();
        new.set[index] = given.map_err(OptionError::refused)?;
        let ready = self.check(at, &new).map_err(OptionError::refused)?;
        let is_new = shown(&old, index) != shown(&new, index);
        lock(&self.plans)[at] = new;
        let (applied, wakers) = if is_new { self.apply(at, ready, host) } else { (self.applied(at), Vec::new()) };
        drop((changing, checking));
        wakers.into_iter().for_each(Waker::wake);
        Ok(applied)
    }

    /// Asks all layers again, and puts their values in force if all of them are right.
    pub(crate) fn reload(&self, host: &dyn Host) -> Result<Reloaded, OptionError> {
        let checking = Checking::begin()?;
        let reloading = lock(&self.reloading);
        let flags = lock(&self.plans).clone();
        let given = self.sources.ask(&flags).map_err(OptionError::all)?;
        let (rereads, unreadable) = self.reread(&flags);
        let changing = lock(&self.changing);
        let plans = lock(&self.plans).clone();
        let mut new = plans.clone();
        new.iter_mut().zip(given).for_each(|(plan, given)| plan.given = given);
        let (mut wrong, mut ready, mut changes) = (unreadable, Vec::new(), Vec::new());
        for (at, (old, new)) in plans.iter().zip(&new).enumerate() {
            let changed = (0..new.flags.len()).filter(|&index| shown(old, index) != shown(new, index));
            let changed: Vec<usize> = changed.collect();
            if changed.is_empty() {
                continue;
            }
            let refused = changed.iter().filter_map(|&index| fixed(new, &new.flags[index], host));
            wrong.extend(refused);
            match self.check(at, new) {
                Ok(checked) => ready.push((at, checked)),
                Err(why) => wrong.push(why),
            }
            changes.push((at, changed));
        }
        if !wrong.is_empty() {
            return Err(OptionError::all(wrong));
        }
        lock(&self.plans).clone_from(&new);
        let mut wakers = Vec::new();
        let mut reloaded = Reloaded { changes: Vec::new() };
        for ((at, ready), (_, changed)) in ready.into_iter().zip(changes) {
            let (applied, woken) = self.apply(at, ready, host);
            wakers.extend(woken);
            let change = |index: usize| {
                let name = new[at].flags[index].full_name().to_owned();
                OptionChange { name, old: text(&plans[at], index), new: text(&new[at], index), applied }
            };
            reloaded.changes.extend(changed.into_iter().map(change));
        }
        drop(changing);
        for apply in rereads {
            // This is not an option: its failure loses no option.
            if let Err(panic) = catch(apply) {
                crate::kit::panics::say(format_args!("what was read by a reload panicked"), &panic);
            }
        }
        drop((reloading, checking));
        wakers.into_iter().for_each(Waker::wake);
        Ok(reloaded)
    }

    /// Has tasks reread what they have read from files; returns what to apply, and what is wrong.
    fn reread(&self, plans: &[Plan]) -> (Vec<Apply>, Vec<String>) {
        let (mut rereads, mut wrong) = (Vec::new(), Vec::new());
        for (plan, cell) in plans.iter().zip(&self.cells) {
            for reread in cell.iter().flat_map(|cell| cell.rereads()) {
                // Its message may run user code, and so may its drop.
                let read = catch(move || reread.read().map_err(|error| error.to_string()));
                match read.unwrap_or_else(|panic| Err(format!("what it reads again panicked: {panic}"))) {
                    Ok(apply) => rereads.push(apply),
                    Err(why) => wrong.push(format!("{}: {}", plan.section.owner(), plan.redacted(why))),
                }
            }
        }
        (rereads, wrong)
    }

    /// Checks whether these options are valid.
    fn check(&self, at: usize, plan: &Plan) -> Result<Ready, String> {
        if at == 0 {
            return read(plan).map(|core| Ready::Core(Box::new(core))).map_err(|fault| fault.into_text());
        }
        let Some(cell) = &self.cells[at] else { return Ok(Ready::Unused) };
        // Parsing them may run user code.
        let checked = catch(|| {
            let matches = replay::matches(plan).map_err(|fault| fault.into_text())?;
            (cell.check)(&matches).map_err(|error| plan.redacted(one_line(&error)))?;
            Ok(matches)
        });
        match checked {
            Ok(matches) => matches.map(|matches| Ready::Owner(cell.clone(), Box::new(matches))),
            Err(panic) => {
                let panic = plan.redacted(panic);
                Err(format!("the options of {} panicked: {panic}", plan.section.owner()))
            }
        }
    }

    fn apply(&self, at: usize, ready: Ready, host: &dyn Host) -> (Applied, Vec<Waker>) {
        match ready {
            Ready::Core(core) => {
                host.apply(&core);
                (Applied::Now, Vec::new())
            }
            Ready::Owner(cell, matches) => {
                let (applied, wakers) = cell.replace(*matches);
                (if at == OWN { Applied::Now } else { applied }, wakers)
            }
            Ready::Unused => (Applied::AtRestart, Vec::new()),
        }
    }

    fn applied(&self, at: usize) -> Applied {
        match &self.cells[at] {
            _ if at <= OWN => Applied::Now,
            Some(cell) => cell.applied(),
            None => Applied::AtRestart,
        }
    }
}

/// Marks that this thread checks options. Parsers that run there can read options, but change none.
struct Checking;

thread_local!(static CHECKS: Cell<bool> = const { Cell::new(false) });

impl Checking {
    fn begin() -> Result<Self, OptionError> {
        if CHECKS.replace(true) {
            let why = "options can't be set or reloaded by what reads an option";
            return Err(OptionError::refused(why.to_owned()));
        }
        Ok(Self)
    }
}

impl Drop for Checking {
    fn drop(&mut self) {
        CHECKS.set(false);
    }
}

/// The place of the service's own options, which are parsed again at each request.
const OWN: usize = 1;

/// Checked options.
enum Ready {
    Core(Box<CoreOptions>),
    Owner(Arc<OptionCell>, Box<ArgMatches>),
    Unused,
}

fn find(plans: &[Plan], name: &str) -> Option<(usize, usize)> {
    let in_plan = |plan: &Plan| plan.flags.iter().position(|flag| flag.full_name() == name);
    plans.iter().enumerate().find_map(|(at, plan)| Some((at, in_plan(plan)?)))
}

/// Returns the reason why an option can't change while the service runs.
fn fixed(plan: &Plan, flag: &Flag, host: &dyn Host) -> Option<String> {
    let name = flag.full_name();
    match plan.section.kind {
        Owner::Core if flag.name == "log-level" && !host.can_log() => {
            Some(format!("{name} can't be changed: the log is not the service's own"))
        }
        Owner::Core if !LIVE.contains(&flag.name.as_str()) => Some(format!("{name} can't be changed while running")),
        _ if flag.declared.get_id() == LOOP_ID => Some(format!("{name} can't be changed while running")),
        _ if flag.shape() == Shape::Action => Some(format!("{name} takes no value")),
        _ => None,
    }
}

fn shown(plan: &Plan, index: usize) -> Result<Shown, String> {
    let (flag, given) = (&plan.flags[index], plan.set[index].as_ref().or(plan.given[index].as_ref()));
    show::value(flag, given)
}

fn text(plan: &Plan, index: usize) -> Option<String> {
    let (flag, given) = (&plan.flags[index], plan.set[index].as_ref().or(plan.given[index].as_ref()));
    shown(plan, index).ok()?.text(flag, is_masked(flag, given))
}

fn entry(plan: &Plan, flag: &Flag, given: Option<&Given>) -> Option<OptionValue> {
    if flag.shape() == Shape::Action {
        return None;
    }
    let is_masked = is_masked(flag, given);
    Some(OptionValue {
        name: flag.full_name().to_owned(),
        owner: plan.section.owner(),
        value: show::value(flag, given).ok().and_then(|shown| shown.text(flag, is_masked)),
        kind: flag.kind(),
        is_secret: is_masked,
        origin: show::origin(flag, given),
    })
}

/// One option, and its value at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct OptionValue {
    name: String,
    owner: String,
    value: Option<String>,
    kind: OptionKind,
    is_secret: bool,
    origin: Origin,
}

impl OptionValue {
    /// Returns its name on the command line, without the dashes: `http-port`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its owner: `task http`, `loop tokio`, `the service`, `Interloop`.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns its value, as one would set it; `None` if it has none. A secret is `***`.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Returns the kind of its values, for callers that pass them on in formats that distinguish texts and numbers.
    pub fn kind(&self) -> OptionKind {
        self.kind
    }

    /// Whether the value is hidden.
    pub fn is_secret(&self) -> bool {
        self.is_secret
    }

    /// Returns where the value comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// The changes that a [reload](crate::ServiceHandle::reload) has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Reloaded {
    changes: Vec<OptionChange>,
}

impl Reloaded {
    /// Returns each option whose value has changed.
    pub fn changes(&self) -> &[OptionChange] {
        &self.changes
    }
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            return f.write_str("no option has changed");
        }
        let changes: Vec<String> = self.changes.iter().map(ToString::to_string).collect();
        f.write_str(&changes.join(", "))
    }
}

/// An option whose value has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct OptionChange {
    name: String,
    old: Option<String>,
    new: Option<String>,
    applied: Applied,
}

impl OptionChange {
    /// Returns the option's name, as [`OptionValue::name`] does.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the previous value; a secret is `***`.
    pub fn old_value(&self) -> Option<&str> {
        self.old.as_deref()
    }

    /// Returns the new value; a secret is `***`.
    pub fn new_value(&self) -> Option<&str> {
        self.new.as_deref()
    }

    /// Returns when the change takes effect.
    pub fn applied(&self) -> Applied {
        self.applied
    }
}

impl fmt::Display for OptionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unset = |value: &Option<String>| value.as_deref().unwrap_or("(not set)").escape_debug().to_string();
        write!(f, "{}: {} -> {} ({})", self.name, or_unset(&self.old), or_unset(&self.new), self.applied)
    }
}

/// The reason why options were not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionError {
    lines: Vec<String>,
    unknown: bool,
}

impl OptionError {
    pub(crate) fn refused(why: String) -> Self {
        Self::all(vec![why])
    }

    fn all(lines: Vec<String>) -> Self {
        Self { lines, unknown: false }
    }

    fn unknown(name: &str, plans: &[Plan]) -> Self {
        let flags = || plans.iter().flat_map(|plan| &plan.flags);
        // Somebody may have left out the prefix.
        let short: Vec<&str> = flags().filter(|flag| flag.name == name).map(Flag::full_name).collect();
        let meant = match short.as_slice() {
            [] => names::meant_or_all(name, flags().map(Flag::full_name)),
            short => format!("did you mean {}?", short.join(" or ")),
        };
        Self { lines: vec![format!("no option {name}; {meant}")], unknown: true }
    }

    /// Returns all that is wrong, each in one line.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Whether there is no option with this name.
    pub fn is_unknown(&self) -> bool {
        self.unknown
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("; "))
    }
}

impl std::error::Error for OptionError {}
