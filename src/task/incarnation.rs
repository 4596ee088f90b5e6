//! One run of a task: its main future, its children, the values that it shared.
//!
//! All of these are members. When the main future ends or is cancelled, or a child or a thread panics, the other
//! members are cancelled. When the last member has ended, the values are dropped on the loop's thread, after all jobs
//! that were accepted for them, and the supervisor is notified.

use std::{collections::BTreeMap, future::Future, pin::Pin, rc::Rc, sync::Arc, thread};

use crate::{
    Result,
    channel::{
        address::Address,
        control::{Control, Ended},
        local::Local,
        reply::{Completer, Reply},
        shared::Shared,
        this_thread::{self, Label, Run},
    },
    control::{
        events::Events,
        task_info::TaskInfo,
        task_threads::{Notice, Threads},
    },
    kit::{
        panics::{catch, say_to},
        sync::{AtomicBool, Mutex, Ordering, lock},
        trace::{Span, TaskSpan},
    },
    lifecycle::{Event, Outcome, TaskId},
    words::{
        shutdown::Shutdown,
        state::Reason,
        suspect::{Tidings, is_suspect},
    },
};

/// The main future of a task. Boxed: else what hosts it would be compiled for each task.
pub(crate) type Main = Pin<Box<dyn Future<Output = Result>>>;

pub(crate) struct Incarnation {
    pub(crate) task: TaskId,
    pub(crate) number: u32,
    pub(crate) run: Arc<Run>,
    pub(crate) label: Label,
    pub(crate) loop_: Arc<Shared>,
    pub(crate) shutdown: Shutdown,
    pub(crate) info: Arc<TaskInfo>,
    /// Entered wherever the task's own code runs.
    pub(crate) span: TaskSpan,
    pub(crate) threads: Arc<Threads>,
    events: Events,
    ready: AtomicBool,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    next: u64,
    live: BTreeMap<u64, Arc<Control>>,
    values: Vec<Value>,
    /// No more members can join.
    closing: bool,
    /// The first outcome counts, but a panic outweighs an orderly end.
    outcome: Option<Outcome>,
    ended: bool,
}

struct Value {
    address: Arc<Address>,
    /// Whether the address outlives this incarnation, as a slot's does.
    slot: bool,
    /// The incarnation of the loop that it lives on.
    local: u64,
}

impl Incarnation {
    pub(crate) fn new(
        task: TaskId,
        number: u32,
        name: &Arc<str>,
        loop_: Arc<Shared>,
        info: Arc<TaskInfo>,
        events: Events,
    ) -> Arc<Self> {
        let run = Arc::new(Run { name: name.clone(), tidings: Tidings::default(), clock: loop_.clock().clone() });
        Arc::new(Self {
            task,
            number,
            label: Label { of: Some(run.clone()), number: task + 1 },
            run,
            span: TaskSpan::none(),
            threads: Arc::default(),
            loop_,
            shutdown: Shutdown::new(),
            info,
            events,
            ready: AtomicBool::new(false),
            members: Mutex::default(),
        })
    }

    /// Records that it has arrived on the loop's thread.
    pub(crate) fn arrive(&self) {
        self.span.begin(&self.run.name, self.loop_.name(), self.number);
    }

    /// Begins with the main future, or ends at once if it was cancelled before; on the loop's thread.
    pub(crate) fn begin(self: &Arc<Self>, local: &Rc<Local>, main: Main) {
        let control = Arc::new(Control::new());
        let Some(id) = self.enter(&control) else {
            if let Err(panic) = catch(|| self.span.get().run(|| drop(main))) {
                return self.end_unbegun(Outcome::Panicked(panic));
            }
            return self.end_unbegun(Outcome::Dropped);
        };
        let this = self.clone();
        let end = move |ended| this.leave(Some(id), Some(this.outcome(ended)));
        local.spawn(main, control, self.label.clone(), self.span.get(), end);
    }

    /// Ends an incarnation that never had a main future.
    pub(crate) fn end_unbegun(&self, outcome: Outcome) {
        {
            let mut members = lock(&self.members);
            if std::mem::replace(&mut members.ended, true) {
                return;
            }
            members.closing = true;
        }
        self.span.take().run(|| ());
        self.info.registry().end_incarnation();
        self.events.send(Event::TaskEnded(self.task, self.number, outcome));
    }

    /// Reports once that the task is ready.
    pub(crate) fn ready(&self) {
        if !self.ready.swap(true, Ordering::AcqRel) {
            self.events.send(Event::TaskReady(self.task, self.number));
        }
    }

    /// Cancels all members and returns them for the caller to wake; the outcome is reported as usual.
    pub(crate) fn cancel(&self) -> Vec<Arc<Control>> {
        let controls = {
            let mut members = lock(&self.members);
            members.closing = true;
            members.live.values().cloned().collect::<Vec<_>>()
        };
        controls.iter().for_each(|control| control.mark());
        self.threads.cancel();
        controls
    }

    /// Runs a child on the loop's thread.
    pub(crate) fn spawn_local<F>(self: &Arc<Self>, local: &Rc<Local>, future: F) -> Reply<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let (reply, completer) = Reply::of_child(&self.loop_);
        let control = completer.control();
        match self.enter(&control) {
            None => refuse(future, completer),
            Some(id) => {
                self.info.child_begins();
                self.host(local, future, control, id, completer);
            }
        }
        reply
    }

    /// Runs a child on the runtime's workers, or on the loop's thread if there are none.
    pub(crate) fn spawn<F>(self: &Arc<Self>, local: &Rc<Local>, future: F) -> Reply<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (reply, completer) = Reply::of_child(&self.loop_);
        let control = completer.control();
        let Some(id) = self.enter(&control) else {
            refuse(future, completer);
            return reply;
        };
        self.info.child_begins();
        if !local.has_workers() {
            self.host(local, future, control, id, completer);
            return reply;
        }
        let this = self.clone();
        let end = move |ended| this.child_ended(id, ended, completer);
        local.spawn_on_workers(future, control, self.label.clone(), self.span_of_child(), end);
        reply
    }

    fn host<F>(
        self: &Arc<Self>,
        local: &Rc<Local>,
        future: F,
        control: Arc<Control>,
        id: u64,
        completer: Completer<F::Output>,
    ) where
        F: Future + 'static,
    {
        let this = self.clone();
        let end = move |ended| this.child_ended(id, ended, completer);
        local.spawn(future, control, self.label.clone(), self.span_of_child(), end);
    }

    /// Returns the current span of the code that makes the child, or the task's if that is a callback of the native
    /// loop.
    fn span_of_child(&self) -> Span {
        Span::current().or(|| self.span.get())
    }

    fn child_ended<R>(self: &Arc<Self>, id: u64, ended: Ended<R>, completer: Completer<R>) {
        let panic = match &ended {
            Ended::Panicked(message) => Some(Outcome::Panicked(message.clone())),
            _ => None,
        };
        self.info.child_ends();
        completer.end(ended);
        self.leave(Some(id), panic);
    }

    /// Fails the task, as a child's panic does, because one of its threads has panicked; called on that thread, which
    /// has not ended yet.
    pub(super) fn thread_panicked(self: &Arc<Self>, panic: String) {
        self.leave(None, Some(Outcome::Panicked(panic)));
    }

    /// Records a value that this incarnation put at an address.
    pub(crate) fn owns(&self, address: Arc<Address>, slot: bool, local: &Local) {
        if slot {
            self.info.fills(&address);
        }
        lock(&self.members).values.push(Value { address, slot, local: local.id() });
    }

    /// Whether no more members can begin.
    pub(crate) fn is_closing(&self) -> bool {
        lock(&self.members).closing
    }

    fn enter(&self, control: &Arc<Control>) -> Option<u64> {
        let mut members = lock(&self.members);
        if members.closing {
            return None;
        }
        let id = members.next;
        members.next += 1;
        members.live.insert(id, control.clone());
        Some(id)
    }

    /// Removes a member, if a number is given; if an outcome is given, the task ends with it.
    fn leave(self: &Arc<Self>, id: Option<u64>, outcome: Option<Outcome>) {
        let (gone, others) = {
            let mut members = lock(&self.members);
            let gone = id.and_then(|id| members.live.remove(&id));
            let others = match outcome {
                None => Vec::new(),
                Some(outcome) => {
                    // A panic of a child or a thread, or during a drop, outweighs an end that was not a failure.
                    let panicked = matches!(outcome, Outcome::Panicked(_));
                    let failed =
                        matches!(members.outcome, Some(Outcome::Error(_) | Outcome::Suspect(_) | Outcome::Panicked(_)));
                    if members.outcome.is_none() || (panicked && !failed) {
                        members.outcome = Some(outcome);
                    }
                    members.closing = true;
                    members.live.values().cloned().collect::<Vec<_>>()
                }
            };
            (gone, others)
        };
        // This may hold the last clone of a waker, whose drop is user code, so it runs outside the lock that the
        // supervisor takes.
        drop(gone);
        others.iter().for_each(|control| control.cancel());
        {
            let mut members = lock(&self.members);
            if !members.closing || !members.live.is_empty() || std::mem::replace(&mut members.ended, true) {
                return;
            }
        }
        self.end_after_threads();
    }

    fn outcome(&self, ended: Ended<Result>) -> Outcome {
        let error = match ended {
            Ended::Returned(Ok(())) => return Outcome::Ok,
            Ended::Returned(Err(error)) => error,
            Ended::Panicked(message) => return Outcome::Panicked(message),
            Ended::Cancelled => return Outcome::Dropped,
        };
        let skip = error.skip_reason().map(str::to_owned);
        let told = self.run.tidings.explain(self.loop_.clock().now());
        // Displaying an error, finding its cause and dropping it are user code.
        let shown = catch(move || {
            let suspect = told || error.source().is_some_and(|error| is_suspect(error));
            let text = error.to_string();
            drop(error);
            (text, suspect)
        });
        match (skip, shown) {
            (Some(reason), _) => Outcome::Skip(reason),
            (None, Ok((text, true))) => Outcome::Suspect(text),
            (None, Ok((text, false))) => Outcome::Error(text),
            (None, Err(panic)) => Outcome::Panicked(panic),
        }
    }

    /// Ends the task, whose futures are gone, once its threads have ended or are left behind. Until then a thread that
    /// panics fails it.
    fn end_after_threads(self: &Arc<Self>) {
        // Whether a stop sets their deadline, by cancelling the task when its time is up.
        let stops = self.shutdown.is_requested();
        if self.threads.close() {
            return self.end();
        }
        // This wakes its waiters, which is user code.
        let asks = catch(|| self.shutdown.request(Reason::from("its task has ended"), None));
        if let Err(panic) = asks {
            say_to(self.info.target(), format_args!("a waker of the shutdown panicked"), &panic);
        }
        let (this, busy) = (self.clone(), self.loop_.clock().busy());
        let waits = move || {
            let _busy = busy;
            let warn = |left: &Notice| {
                this.info.registry().warn(&left.warning, left.text.clone());
            };
            let left = this.threads.wait(stops, warn);
            for Notice { line, .. } in left {
                log::warn!(target: this.info.target(), "{line}");
                this.info.leaves_threads(&this.threads);
            }
            this.end();
        };
        let name = format!("{}-end", self.run.name);
        if let Err(error) = thread::Builder::new().name(name).spawn(waits) {
            log::error!(target: self.info.target(), "no thread that waits for the ends of the task's threads: {error}");
            self.end();
        }
    }

    /// Ends the incarnation: the last member and the last thread are gone.
    fn end(&self) {
        let (values, outcome) = {
            let mut members = lock(&self.members);
            (std::mem::take(&mut members.values), members.outcome.take().unwrap_or(Outcome::Dropped))
        };
        let (task, number, label, events) = (self.task, self.number, self.label.clone(), self.events.clone());
        let (info, span) = (self.info.clone(), self.span.take());
        // If the mailbox refuses the errand, the loop has ended and so have all its tasks: the supervisor is told of
        // that.
        let _ = self.loop_.errand(move |local| {
            let _entered = this_thread::enter(&label, local.shared());
            let mut outcome = outcome;
            span.run(|| {
                for Value { address, slot, local: home } in values {
                    // Its own loop has died and dropped the value; a value that is there now belongs to the next
                    // incarnation.
                    let removed = if home == local.id() { local.remove(address.key()) } else { Ok(()) };
                    if !slot {
                        address.close();
                    }
                    if let Err(panic) = removed {
                        outcome = Outcome::Panicked(panic);
                    }
                }
            });
            info.registry().end_incarnation();
            events.send(Event::TaskEnded(task, number, outcome));
        });
    }
}

fn refuse<F: Future>(future: F, completer: Completer<F::Output>) {
    let dropped = catch(|| drop(future));
    completer.end(dropped.map_or_else(Ended::Panicked, |()| Ended::Cancelled));
}
