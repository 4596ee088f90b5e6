//! How a task is added: on which loop, and whether it can be recreated.

use std::{fmt, marker::PhantomData};

use clap::Args as _;

use super::{
    builder::Service,
    choice::{choice, choices_of, command_of},
    loop_set::LoopSet,
    settings::TaskSettings,
};
use crate::{
    event_loop::contract::EventLoop,
    task::{erased::Make, task_trait::Task},
};

/// Methods that add tasks.
impl Service {
    /// Begins to add a task: first its loop, then the task, or a closure that recreates it at each restart.
    ///
    /// The five methods below are shorthand for it.
    pub fn add(&mut self, name: impl Into<String>) -> NewTask<'_> {
        NewTask::new(self, name.into())
    }

    /// Adds a task whose type says which loop it runs on.
    pub fn task<L: EventLoop, T: Task<L>>(&mut self, name: impl Into<String>, task: T) -> &mut TaskSettings {
        self.add(name).on_loop::<L>().task(task)
    }

    /// Adds a task that can run on any loop to a loop of kind `L`.
    pub fn task_on<L: EventLoop>(&mut self, name: impl Into<String>, task: impl Task<L>) -> &mut TaskSettings {
        self.add(name).on_loop::<L>().task(task)
    }

    /// Adds a task that is recreated for each incarnation, so that it can be [restarted](TaskSettings::restart).
    ///
    /// `make` is called on the loop's thread. A handle that all incarnations share must be
    /// [offered](TaskSettings::offers). If the task can run on any loop, name the loop:
    /// `service.task_with::<Thread>("echo", || Echo)`.
    ///
    /// `make` is called more than once, so it must clone the values that the task takes; otherwise the compiler says
    /// that they can't be moved out of the closure (E0507). A [slot](Self::slot) is such a value: each incarnation
    /// fills the same one, and calls that arrive between two incarnations wait.
    ///
    /// ```
    /// use std::{cell::Cell, time::Duration};
    /// use interloop::{RestartPolicy, Service, Thread, task_fn};
    ///
    /// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    /// let mut service = Service::new("counter");
    /// let (slot, count) = service.slot::<Cell<u64>>("count");
    /// let keeper = move || {
    ///     let slot = slot.clone();
    ///     task_fn::<Thread>(async move |cx| {
    ///         cx.fill(slot, Cell::new(7));
    ///         Ok(cx.until_shutdown().await)
    ///     })
    /// };
    /// service.task_with::<Thread>("keeper", keeper).restart(RestartPolicy::on_failure());
    /// let running = service.start()?;
    /// assert_eq!(count.call(Cell::get).wait_timeout(Duration::from_secs(10)), Ok(7));
    /// running.stop();
    /// # Ok(())
    /// # }
    /// ```
    pub fn task_with<L: EventLoop>(&mut self, name: impl Into<String>, make: impl TaskFactory<L>) -> &mut TaskSettings {
        self.add(name).on_loop::<L>().task_with(make)
    }

    /// Adds a task that runs on one of several kinds of loop; `--{task}-loop` chooses, and the first is the default.
    ///
    /// ```
    /// # use interloop::{Context, EventLoop, NoOptions, Result, Service, Task, Thread};
    /// # struct Echo;
    /// # impl<L: EventLoop> Task<L> for Echo {
    /// #     type Options = NoOptions;
    /// #     async fn run(&mut self, cx: Context<L>) -> Result { Ok(cx.until_shutdown().await) }
    /// # }
    /// # let mut service = Service::new("echo");
    /// service.task_any::<(Thread,)>("echo", Echo);
    /// ```
    pub fn task_any<S>(&mut self, name: impl Into<String>, task: impl AnyLoopTask<S>) -> &mut TaskSettings {
        self.add(name).on_any::<S>().task(task)
    }

    /// Adds a task as [`task_any`](Self::task_any) does, but recreates it for each incarnation, as
    /// [`task_with`](Self::task_with) does.
    pub fn task_any_with<S>(&mut self, name: impl Into<String>, make: impl AnyLoopTaskFactory<S>) -> &mut TaskSettings {
        self.add(name).on_any::<S>().task_with(make)
    }
}

/// A task that is being added to a service; [`Service::add`] returns it.
///
/// Choose its loop first: [`on_loop`](Self::on_loop), [`on_any`](Self::on_any), or neither if the task's type names the
/// loop. Then add the task: [`task`](Self::task) for one incarnation, or [`task_with`](Self::task_with) for a closure
/// that makes one for each.
///
/// ```
/// use interloop::{Context, EventLoop, NoOptions, RestartPolicy, Result, Service, Task, Thread};
///
/// struct Echo;
///
/// impl<L: EventLoop> Task<L> for Echo {
///     type Options = NoOptions;
///
///     async fn run(&mut self, cx: Context<L>) -> Result {
///         Ok(cx.until_shutdown().await)
///     }
/// }
///
/// let mut service = Service::new("echo");
/// service.add("once").on_loop::<Thread>().task(Echo);
/// service.add("again").on_loop::<Thread>().task_with(|| Echo).restart(RestartPolicy::on_failure());
/// service.add("chosen").on_any::<(Thread,)>().task_with(|| Echo); // --chosen-loop
/// ```
#[must_use = "no task is added before `task` or `task_with`"]
pub struct NewTask<'s, On = ByType> {
    service: &'s mut Service,
    name: String,
    on: PhantomData<fn() -> On>,
}

/// Marks a task whose type names its loop.
#[derive(Debug)]
pub enum ByType {}

/// Marks a task that runs on a loop of kind `L`.
#[derive(Debug)]
pub struct OnLoop<L>(PhantomData<fn() -> L>);

/// Marks a task that runs on one of the loops in the tuple `S`, chosen by an option.
#[derive(Debug)]
pub struct OnAny<S>(PhantomData<fn() -> S>);

impl<'s> NewTask<'s> {
    pub(super) fn new(service: &'s mut Service, name: String) -> Self {
        Self { service, name, on: PhantomData }
    }

    /// Puts the task on a loop of kind `L`: the default instance, unless [`TaskSettings::on`] names another.
    pub fn on_loop<L: EventLoop>(self) -> NewTask<'s, OnLoop<L>> {
        NewTask { service: self.service, name: self.name, on: PhantomData }
    }

    /// Lets the option `--{task}-loop` choose among the loops of a tuple; the first is the default.
    pub fn on_any<S>(self) -> NewTask<'s, OnAny<S>> {
        NewTask { service: self.service, name: self.name, on: PhantomData }
    }

    /// Adds this task to the loop that its type names: see [`Service::task`].
    pub fn task<L: EventLoop, T: Task<L>>(self, task: T) -> &'s mut TaskSettings {
        self.on_loop::<L>().task(task)
    }

    /// Adds the task that `make` makes, to the loop that its type names: see [`Service::task_with`].
    pub fn task_with<L: EventLoop>(self, make: impl TaskFactory<L>) -> &'s mut TaskSettings {
        self.on_loop::<L>().task_with(make)
    }
}

impl<'s, L: EventLoop> NewTask<'s, OnLoop<L>> {
    /// Adds this task: see [`Service::task_on`].
    pub fn task<T: Task<L>>(self, task: T) -> &'s mut TaskSettings {
        let said = (task.offer(), task.defaults());
        self.service.add_once(self.name, task, said, |make| vec![choice::<L, T>(make)], T::Options::augment_args)
    }

    /// Adds the task that `make` makes on the loop's thread for each incarnation: see [`Service::task_with`].
    pub fn task_with(self, make: impl TaskFactory<L>) -> &'s mut TaskSettings {
        make.add_to(self.service, self.name)
    }
}

impl<'s, S> NewTask<'s, OnAny<S>> {
    /// Adds this task: see [`Service::task_any`].
    pub fn task(self, task: impl AnyLoopTask<S>) -> &'s mut TaskSettings {
        task.add_to(self.service, self.name)
    }

    /// Adds the task that `make` makes on the loop's thread for each incarnation: see [`Service::task_any_with`].
    pub fn task_with(self, make: impl AnyLoopTaskFactory<S>) -> &'s mut TaskSettings {
        make.add_to(self.service, self.name)
    }
}

impl<On> fmt::Debug for NewTask<'_, On> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewTask").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A closure that makes a task for a loop of kind `L`, as [`Service::task_with`] takes it.
///
/// Implemented for every `FnMut() -> T + Send + 'static` where `T: Task<L>`, and for nothing else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` makes no task for the loop `{L}`",
    label = "must be a closure `|| MyTask` that is `Send + 'static`, of a type that implements `Task<{L}>`"
)]
pub trait TaskFactory<L> {
    #[doc(hidden)]
    fn add_to(self, service: &mut Service, name: String) -> &mut TaskSettings;
}

impl<L: EventLoop, T: Task<L>, F: FnMut() -> T + Send + 'static> TaskFactory<L> for F {
    fn add_to(self, service: &mut Service, name: String) -> &mut TaskSettings {
        service.add_task(name, true, vec![choice::<L, T>(Make::anew(self))], T::Options::augment_args)
    }
}

/// A task that runs on each of the loops in the tuple `S`, as [`Service::task_any`] takes it.
///
/// Implemented for every task with the same options on all of them, and for nothing else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no task for each of the loops `{S}`",
    label = "must implement `Task` for each of them, with the same options"
)]
pub trait AnyLoopTask<S> {
    #[doc(hidden)]
    fn add_to(self, service: &mut Service, name: String) -> &mut TaskSettings;
}

impl<S: LoopSet<T>, T: Send + 'static> AnyLoopTask<S> for T {
    fn add_to(self, service: &mut Service, name: String) -> &mut TaskSettings {
        let said = (S::offer(&self), S::defaults(&self));
        service.add_once(name, self, said, choices_of::<S, T>, command_of::<S, T>)
    }
}

/// A closure that makes a task for each of the loops in the tuple `S`, as [`Service::task_any_with`] takes it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` makes no task for each of the loops `{S}`",
    label = "must be a closure `|| MyTask` that is `Send + 'static`, of a task for each of them"
)]
pub trait AnyLoopTaskFactory<S> {
    #[doc(hidden)]
    fn add_to(self, service: &mut Service, name: String) -> &mut TaskSettings;
}

impl<S: LoopSet<T>, T: Send + 'static, F: FnMut() -> T + Send + 'static> AnyLoopTaskFactory<S> for F {
    fn add_to(self, service: &mut Service, name: String) -> &mut TaskSettings {
        service.add_task(name, true, choices_of::<S, T>(Make::anew(self)), command_of::<S, T>)
    }
}
