//! The objects that the service stores for tasks and loops, behind the generic traits that users implement.

use std::{any::TypeId, fmt, marker::PhantomData, rc::Rc, sync::Arc};

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::incarnation::Incarnation;
use crate::{
    Context, EventLoop, ServiceHandle, Task,
    channel::{address::Address, local::Local, shared::Shared, this_thread},
    event_loop::Mailbox,
    kit::{
        panics::catch,
        sync::{Mutex, lock},
    },
    lifecycle::Outcome,
    options::{Check, OptionCell, OptionDefaults},
};

/// A task, whatever its type and its loop.
pub(crate) trait ErasedTask: Send {
    /// Returns the check whether parsed options are valid for it.
    fn check(&self) -> Check;
    /// Lets the task check its options, if its value exists already: see [`Task::check`].
    fn check_task(&mut self, matches: &ArgMatches) -> Result<(), String>;
    /// Begins an incarnation, on the loop's thread.
    fn start(
        &mut self,
        local: &Rc<Local>,
        options: &Arc<OptionCell>,
        incarnation: &Arc<Incarnation>,
        service: ServiceHandle,
    );
    /// Whether this holds user values: the task, if it never began, or the closure that recreates it.
    fn holds(&self) -> bool;
}

/// Makes the value for an incarnation.
pub struct Make<T> {
    make: Box<dyn FnMut() -> Option<T> + Send>,
    once: bool,
    holds: bool,
}

impl<T: 'static> Make<T> {
    /// Returns a maker that makes one value, the one that `take` returns.
    pub(crate) fn once(take: impl FnMut() -> Option<T> + Send + 'static) -> Self {
        Self { make: Box::new(take), once: true, holds: true }
    }

    /// Returns a maker that makes a new value each time.
    pub(crate) fn anew<F: FnMut() -> T + Send + 'static>(mut make: F) -> Self {
        Self { make: Box::new(move || Some(make())), once: false, holds: std::mem::needs_drop::<F>() }
    }

    /// Returns the same maker for each of several kinds of loop, of which one is chosen.
    pub(crate) fn for_each_of(self, kinds: usize) -> impl Iterator<Item = Self> {
        let (once, holds) = (self.once, self.holds);
        let shared = Arc::new(Mutex::new(self));
        std::iter::repeat_n(shared, kinds).map(move |shared| {
            let make = move || lock(&shared).make();
            Self { make: Box::new(make), once, holds }
        })
    }

    /// Makes the value early if there is only one.
    fn make_early(&mut self) -> Option<T> {
        if self.once { self.make() } else { None }
    }

    /// Makes a value; returns `None` if there is none left.
    pub(crate) fn make(&mut self) -> Option<T> {
        self.holds &= !self.once;
        (self.make)()
    }
}

impl<T> fmt::Debug for Make<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Make")
    }
}

/// A task on one of its loops, for [`LoopSet`](crate::service::LoopSet).
pub struct AnyTask(pub(crate) Box<dyn ErasedTask>);

impl fmt::Debug for AnyTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyTask")
    }
}

pub(crate) struct TaskOf<L, T> {
    make: Make<T>,
    /// The value, if it was made early to be checked.
    early: Option<T>,
    on: PhantomData<fn() -> L>,
}

impl<L: EventLoop, T: Task<L>> TaskOf<L, T> {
    pub(crate) fn boxed(make: Make<T>) -> Box<dyn ErasedTask> {
        Box::new(Self { make, early: None, on: PhantomData })
    }
}

impl<L: EventLoop, T: Task<L>> ErasedTask for TaskOf<L, T> {
    fn check(&self) -> Check {
        |matches| T::Options::from_arg_matches(matches).map(drop)
    }

    fn check_task(&mut self, matches: &ArgMatches) -> Result<(), String> {
        self.early = self.make.make_early();
        let Some(task) = &self.early else { return Ok(()) };
        let options = T::Options::from_arg_matches(matches).map_err(|error| error.to_string())?;
        match catch(|| task.check(&options).map_err(|error| error.to_string())) {
            Ok(checked) => checked,
            Err(panic) => Err(format!("its check panicked: {panic}")),
        }
    }

    fn start(
        &mut self,
        local: &Rc<Local>,
        options: &Arc<OptionCell>,
        incarnation: &Arc<Incarnation>,
        service: ServiceHandle,
    ) {
        // The value, and what its constructor logs, belong to the task.
        let _entered = this_thread::enter(&incarnation.label, &incarnation.loop_);
        let native = local.native().and_then(|native| native.downcast::<L::Native>().ok());
        let early = self.early.take();
        let made = catch(|| incarnation.span.get().run(|| early.or_else(|| self.make.make())));
        let (version, matches) = options.latest();
        let cell = options.clone();
        let (native, mut task, options) = match (native, made, T::Options::from_arg_matches(&matches)) {
            (Some(native), Ok(Some(task)), Ok(options)) => (native, task, options),
            (_, Err(panic), _) => return incarnation.end_unbegun(Outcome::Panicked(panic)),
            (_, _, Err(error)) => return incarnation.end_unbegun(Outcome::Error(error.to_string())),
            (None, ..) => return incarnation.end_unbegun(Outcome::Error("its loop never said started".into())),
            (_, Ok(None), _) => return incarnation.end_unbegun(Outcome::Error("it can't be made anew".into())),
        };
        let cx = Context::<L, T::Options>::new(
            native,
            options,
            (cell, version),
            local.clone(),
            incarnation.clone(),
            service,
        );
        incarnation.begin(local, Box::pin(async move { task.run(cx).await }));
    }

    fn holds(&self) -> bool {
        self.make.holds || self.early.is_some()
    }
}

/// A loop, whatever its type.
pub(crate) trait ErasedLoop: Send {
    fn command(&self, command: Command) -> Command;
    /// Returns the defaults that the plan sets for its options.
    fn defaults(&self) -> OptionDefaults;
    /// Returns the check whether parsed options are valid for it.
    fn check(&self) -> Check;
    /// Lets the plan check its options: see [`EventLoop::check`].
    fn check_plan(&self, matches: &ArgMatches) -> Result<(), String>;
    fn needs_main_thread(&self) -> bool;
    fn claims(&self) -> Option<&'static str>;
    /// Returns the closure that drives one incarnation of the loop to its end, on the loop's thread.
    fn incarnation(&self, matches: &ArgMatches, shared: Arc<Shared>, service: ServiceHandle, started: Started)
    -> Drive;
}

/// Called on the loop's thread once it takes turns.
pub(crate) type Started = Box<dyn FnOnce() + Send>;
/// The prefix of the message of a loop that has panicked.
pub(crate) const PANICKED: &str = "panicked: ";

/// Drives a loop to its end; the error says how it died.
pub(crate) type Drive = Box<dyn FnOnce() -> std::result::Result<(), String> + Send>;

pub(crate) struct LoopOf<L>(pub(crate) L);

impl<L: EventLoop> ErasedLoop for LoopOf<L> {
    fn command(&self, command: Command) -> Command {
        L::Options::augment_args(command)
    }

    fn check(&self) -> Check {
        |matches| L::Options::from_arg_matches(matches).map(drop)
    }

    fn defaults(&self) -> OptionDefaults {
        self.0.defaults()
    }

    fn check_plan(&self, matches: &ArgMatches) -> Result<(), String> {
        let options = L::Options::from_arg_matches(matches).map_err(|error| error.to_string())?;
        match catch(|| self.0.check(&options).map_err(|error| error.to_string())) {
            Ok(checked) => checked,
            Err(panic) => Err(format!("its check panicked: {panic}")),
        }
    }

    fn needs_main_thread(&self) -> bool {
        self.0.needs_main_thread()
    }

    fn claims(&self) -> Option<&'static str> {
        self.0.claims()
    }

    fn incarnation(
        &self,
        matches: &ArgMatches,
        shared: Arc<Shared>,
        service: ServiceHandle,
        started: Started,
    ) -> Drive {
        let plan = self.0.clone();
        let matches = matches.clone();
        Box::new(move || {
            let _driven = this_thread::drive(&shared, L::THREAD_A_TASK);
            let _found = shared.driver.enter();
            let driven = catch(|| {
                let options = L::Options::from_arg_matches(&matches)?;
                let mailbox = Mailbox::<L>::new(shared.clone()).with_service(service);
                plan.drive(options, mailbox, |mailbox, native| {
                    mailbox.local().set_native(Rc::new(native));
                    started();
                })
            });
            match driven {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(panic) => Err(format!("{PANICKED}{panic}")),
            }
        })
    }
}

/// A kind of loop, and how its default instance is planned.
#[derive(Clone, Copy)]
pub struct LoopSpec {
    pub(crate) kind: &'static str,
    pub(crate) id: TypeId,
    pub(crate) thread_a_task: bool,
    pub(crate) plan: fn() -> Box<dyn ErasedLoop>,
    /// Registers the Remote to its Native by name.
    pub(crate) register: Register,
}

type Register = fn(&ServiceHandle, &str, &Arc<Address>) -> bool;

impl LoopSpec {
    pub(crate) fn of<L: EventLoop>() -> Self {
        Self {
            kind: L::NAME,
            id: TypeId::of::<L>(),
            thread_a_task: L::THREAD_A_TASK,
            plan: || Box::new(LoopOf(L::default())),
            register: ServiceHandle::register::<L::Native>,
        }
    }
}

impl fmt::Debug for LoopSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)
    }
}
