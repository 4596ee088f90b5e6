//! Handles, by which one task reaches another.
//!
//! A handle exists before the service starts, as a [`Remote`](crate::Remote) does: a task that needs another is built
//! with its handle. The task that it leads to [offers](crate::service::TaskSettings::offers) it. A task that
//! [uses](crate::service::TaskSettings::uses) it starts after that task and stops before it. Other code gets it [by
//! name and type](crate::ServiceHandle::task_handle).

use std::{
    any::{Any, TypeId, type_name},
    fmt,
    sync::{Arc, OnceLock},
};

use crate::kit::panics::catch;

/// The way to use a task from any thread, for a built-in task or one of your own.
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
    /// Returns the task that the handle leads to.
    fn task(&self) -> &TaskRef;

    /// Called when the task has ended and only an operator can restart it, or when it will never start.
    ///
    /// It must notify callers that wait by this handle. It is called once or more, on a thread of the service; if it
    /// blocks, it is named and left behind. By default it does nothing.
    fn ended(&self) {}
}

/// A reference to the task that a [handle](TaskHandle) leads to; clones are the same reference.
///
/// The task is unknown until it has been added to a service.
#[derive(Clone, Default)]
pub struct TaskRef(Arc<OnceLock<Arc<str>>>);

impl TaskRef {
    /// Returns the task's name, once it is known.
    pub fn name(&self) -> Option<&str> {
        self.0.get().map(|name| &**name)
    }

    /// Sets the task; returns an error with its name if it is already set.
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
    /// Returns an offer of this handle.
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
