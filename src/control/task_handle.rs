//! Handles: how one task gets at another.
//!
//! A handle is there before the service starts, as a [`Remote`](crate::Remote) is: whoever needs the task is built with
//! it. The task that it leads to [offers](crate::service::TaskSettings::offers) it, and whoever
//! [uses](crate::service::TaskSettings::uses) it starts after that task and stops before it. Anybody else gets it [by
//! name and type](crate::ServiceHandle::task_handle).

use std::{
    any::{Any, TypeId, type_name},
    fmt,
    sync::{Arc, OnceLock},
};

use crate::kit::panics::catch;

/// A way to a task, from any thread: what a ready-made task, or one of yours, is used by.
///
/// ```
/// use std::{cell::RefCell, time::Duration};
/// use interloop::{Context, Error, EventLoop, NoOptions, Remote, Result, Service, Slot, Task, Thread, task::{Offer, TaskHandle, TaskRef}, task_fn};
///
/// /// Keeps words on its loop.
/// struct Book { slot: Slot<RefCell<Vec<String>>>, handle: BookHandle }
///
/// #[derive(Clone)]
/// struct BookHandle { task: TaskRef, words: Remote<RefCell<Vec<String>>> }
///
/// impl TaskHandle for BookHandle {
///     fn task(&self) -> &TaskRef { &self.task }
/// }
///
/// impl<L: EventLoop> Task<L> for Book {
///     type Options = NoOptions;
///
///     async fn run(&mut self, cx: Context<L>) -> Result {
///         cx.fill(self.slot.clone(), RefCell::default());
///         Ok(cx.until_shutdown().await)
///     }
///
///     fn offer(&self) -> Option<Offer> { Some(Offer::new(&self.handle)) }
/// }
///
/// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
/// let mut service = Service::new("library");
/// let (slot, words) = service.slot("words");
/// let book = BookHandle { task: TaskRef::default(), words };
/// service.task_on::<Thread>("book", Book { slot, handle: book.clone() });
/// let writes = book.clone();
/// let writer = task_fn::<Thread>(async move |_| {
///     Ok(writes.words.call(|words| words.borrow_mut().push("hello".into())).await?)
/// });
/// service.task("writer", writer).uses(&book);
/// let running = service.start()?;
/// assert!(running.wait_started_timeout(Duration::from_secs(10)));
/// // Elsewhere, by name and type.
/// let book: BookHandle = running.task_handle("book")?;
/// assert_eq!(book.words.call(|words| words.borrow().len()).wait_timeout(Duration::from_secs(10))?, 1);
/// assert_eq!(running.stop().code, 0);
/// # Ok(())
/// # }
/// ```
pub trait TaskHandle: Clone + Send + Sync + 'static {
    /// Which task it leads to.
    fn task(&self) -> &TaskRef;

    /// Its task has ended, and nothing but an operator starts it again; or it never will start. Whoever waits by this
    /// handle is to be told. Called once or more, on a thread of the service's own; if it blocks, it is named and left
    /// behind. By default nothing happens.
    fn ended(&self) {}
}

/// Which task a [handle](TaskHandle) leads to: unknown until that task has been added to a service. Clones are the
/// same.
#[derive(Clone, Default)]
pub struct TaskRef(Arc<OnceLock<Arc<str>>>);

impl TaskRef {
    /// The task's name.
    pub fn name(&self) -> Option<&str> {
        self.0.get().map(|name| &**name)
    }

    /// Says which task it is; or which it is already.
    pub(crate) fn set(&self, name: &str) -> Result<(), &str> {
        let known: &str = self.0.get_or_init(|| name.into());
        if known == name { Ok(()) } else { Err(known) }
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskRef").field(&self.name()).finish()
    }
}

/// The handle that a task offers, whatever its type: see [`Task::offer`](crate::Task::offer).
#[derive(Clone)]
pub struct Offer {
    handle: Arc<dyn Any + Send + Sync>,
    id: TypeId,
    type_name: &'static str,
    task: TaskRef,
    ended: fn(&dyn Any),
}

impl Offer {
    /// Of this handle.
    pub fn new<H: TaskHandle>(handle: &H) -> Self {
        Self {
            handle: Arc::new(handle.clone()),
            id: TypeId::of::<H>(),
            type_name: type_name::<H>(),
            task: handle.task().clone(),
            ended: |handle| handle.downcast_ref::<H>().into_iter().for_each(H::ended),
        }
    }

    pub(crate) fn task(&self) -> &TaskRef {
        &self.task
    }

    /// Tells the handle that its task has [ended](TaskHandle::ended).
    pub(crate) fn tell_ended(&self) {
        if let Err(panic) = catch(|| (self.ended)(&*self.handle)) {
            let task = self.task.name().unwrap_or_default();
            crate::kit::panics::say(format_args!("a handle of task {task} panicked at its end"), &panic);
        }
    }

    pub(crate) fn id(&self) -> TypeId {
        self.id
    }

    pub(crate) fn type_name(&self) -> &'static str {
        self.type_name
    }

    pub(crate) fn get<H: TaskHandle>(&self) -> Option<H> {
        self.handle.downcast_ref::<H>().cloned()
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("type", &self.type_name).field("task", &self.task).finish()
    }
}
