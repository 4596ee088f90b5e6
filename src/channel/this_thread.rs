//! This thread's current activity: which loop drives it, and whose code it runs. It is used by the panic hook, by the
//! report of a stuck loop, and to refuse to block a loop on a [`Reply`](crate::Reply).
//!
//! Our values may be used and dropped by the destructor of a thread-local, when these thread-locals may be gone
//! already, so nothing relies on them. A panic there would abort the process.

use std::{
    borrow::BorrowMut,
    cell::{Cell, RefCell},
    marker::PhantomData,
    rc::Rc,
    sync::Arc,
};

use super::shared::Shared;
use crate::{kit::clock::Clock, words::suspect::Tidings};

/// Identifies whose code runs: a task's, or a job of a loop.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    /// The task's run; `None` for code that belongs to no task.
    pub(crate) of: Option<Arc<Run>>,
    /// The number that stands for it in [`Shared::polling`]; 0 for the loop's own code.
    pub(crate) number: usize,
}

/// One run of a task, as known to the code that it calls.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) name: Arc<str>,
    pub(crate) tidings: Tidings,
    /// The clock that tells whether an end is recent.
    pub(crate) clock: Clock,
}

/// The number of a job or future that belongs to no task.
pub(crate) const JOB: usize = usize::MAX;

impl Label {
    pub(crate) fn job() -> Self {
        Self { of: None, number: JOB }
    }
}

#[derive(Clone, Debug)]
struct Driven {
    loop_: Arc<Shared>,
    blocking_allowed: bool,
}

thread_local! {
    static DRIVEN: RefCell<Option<Driven>> = const { RefCell::new(None) };
    /// How many mailboxes live on this thread although no service drives it.
    static GUESTS: Cell<usize> = const { Cell::new(0) };
    static LABEL: RefCell<Option<Label>> = const { RefCell::new(None) };
}

/// Marks this thread as a loop's until the guard is dropped.
pub(crate) fn drive(loop_: &Arc<Shared>, blocking_allowed: bool) -> impl Drop + use<> {
    struct Guard(Option<Driven>);
    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = DRIVEN.try_with(|driven| driven.replace(self.0.take()));
        }
    }
    let this = Driven { loop_: loop_.clone(), blocking_allowed };
    Guard(DRIVEN.try_with(|driven| driven.replace(Some(this))).ok().flatten())
}

/// The attachment of a mailbox to this thread, which no service drives, until dropped: to block the thread is to block
/// that mailbox.
pub(crate) struct Stay(PhantomData<Rc<()>>);

impl Stay {
    pub(crate) fn begin() -> Self {
        let _ = GUESTS.try_with(|guests| guests.set(guests.get() + 1));
        Self(PhantomData)
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let _ = GUESTS.try_with(|guests| guests.set(guests.get() - 1));
    }
}

/// Marks that this code runs until the guard is dropped.
pub(crate) fn enter(label: &Label, loop_: &Arc<Shared>) -> impl Drop {
    enter_with(Some(label.clone()), loop_)
}

/// Marks that the code with this label runs until the guard is dropped. The label can be lent: until then its place is
/// empty.
pub(crate) fn enter_with<'a>(label: impl BorrowMut<Option<Label>> + 'a, loop_: &'a Arc<Shared>) -> impl Drop + 'a {
    struct Guard<'a, P: BorrowMut<Option<Label>>> {
        /// Outside the guard's life, the label of the code that runs; during it, the label of the code that ran before.
        label: P,
        number: usize,
        loop_: Option<&'a Arc<Shared>>,
    }
    impl<P: BorrowMut<Option<Label>>> Guard<'_, P> {
        fn swap(&mut self) {
            let _ = LABEL.try_with(|label| std::mem::swap(&mut *label.borrow_mut(), self.label.borrow_mut()));
        }
    }
    impl<P: BorrowMut<Option<Label>>> Drop for Guard<'_, P> {
        fn drop(&mut self) {
            if let Some(loop_) = self.loop_ {
                loop_.set_polling(self.number);
            }
            self.swap();
        }
    }
    // A worker of the runtime doesn't count as the activity of the loop's thread.
    let on_loop = is_on(loop_).then_some(loop_);
    let number = label.borrow().as_ref().map_or(0, |label| label.number);
    let number = on_loop.map_or(0, |loop_| loop_.set_polling(number));
    let mut guard = Guard { label, number, loop_: on_loop };
    guard.swap();
    guard
}

/// Returns the names of the task and of the loop whose code this thread runs, if any.
pub(crate) fn names() -> (Option<Arc<str>>, Option<Arc<str>>) {
    let task = run().map(|run| run.name.clone());
    let loop_ =
        DRIVEN.try_with(|driven| driven.borrow().as_ref().map(|driven| driven.loop_.name().clone())).ok().flatten();
    (task, loop_)
}

/// Whether this thread runs code for a loop that belongs to no task.
pub(crate) fn runs_a_job() -> bool {
    LABEL.try_with(|label| label.borrow().as_ref().is_some_and(|label| label.of.is_none())).unwrap_or(false)
}

/// Returns the run of the task whose code this thread runs.
pub(crate) fn run() -> Option<Arc<Run>> {
    LABEL.try_with(|label| label.borrow().as_ref().and_then(|label| label.of.clone())).ok().flatten()
}

/// Whether this thread may wait for an answer from `target`: not if that would block a loop that must not be blocked,
/// or wait for itself.
pub(crate) fn may_block_on(target: Option<&Arc<Shared>>) -> bool {
    if GUESTS.try_with(Cell::get).unwrap_or(0) > 0 {
        return false;
    }
    DRIVEN
        .try_with(|driven| match &*driven.borrow() {
            None => true,
            Some(driven) => driven.blocking_allowed && target.is_none_or(|target| !Arc::ptr_eq(target, &driven.loop_)),
        })
        .unwrap_or(true)
}

/// Whether a loop drives this thread.
pub(crate) fn is_driven() -> bool {
    DRIVEN.try_with(|driven| driven.borrow().is_some()).unwrap_or(false)
}

/// Whether this thread is driven by a loop of the service with this clock.
#[cfg(feature = "testing")]
pub(crate) fn is_by(clock: &Arc<crate::kit::clock::Fake>) -> bool {
    let is_by = |driven: &Driven| driven.loop_.clock().fake().is_some_and(|fake| Arc::ptr_eq(fake, clock));
    DRIVEN.try_with(|driven| driven.borrow().as_ref().is_some_and(is_by)).unwrap_or(false)
}

/// Whether this thread is driven by that loop.
pub(crate) fn is_on(loop_: &Arc<Shared>) -> bool {
    DRIVEN
        .try_with(|driven| driven.borrow().as_ref().is_some_and(|driven| Arc::ptr_eq(&driven.loop_, loop_)))
        .unwrap_or(false)
}
