//! Answers that arrive after the call for them has returned.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    control::Control,
    remote::Remote,
    reply::{Completer, Reply, Unread},
    this_thread,
};
use crate::{
    kit::{block, panics::catch, trace::Span},
    words::call_error::CallError,
};

/// Returns a [`Promise`] and its [`Reply`], for an answer from any thread.
///
/// ```
/// use std::{thread, time::Duration};
/// use interloop::{CallError, channel::promise};
///
/// let (sum, reply) = promise();
/// thread::spawn(move || sum.fulfil(1 + 2));
/// assert_eq!(reply.wait_timeout(Duration::from_secs(10)), Ok(3));
///
/// let (sum, reply) = promise::<u8>();
/// drop(sum);
/// assert_eq!(reply.wait_timeout(Duration::from_secs(10)), Err(CallError::Stopped));
/// ```
///
/// Such a reply knows no loop: if the promise is kept on a loop that is left behind, callers wait forever.
/// [`Remote::ask`] and [`Remote::promise`] make replies that know theirs.
pub fn promise<R>() -> (Promise<R>, Reply<R>) {
    let (reply, completer) = Reply::local();
    (Promise(completer), reply)
}

/// The other end of a [`Reply`]; its holder owes the answer. The first answer counts.
///
/// Dropping it answers too: with [`Stopped`](CallError::Stopped), or with [`Cancelled`](CallError::Cancelled) once the
/// work has [begun](Self::begin).
#[must_use = "dropping a promise breaks it"]
pub struct Promise<R>(Completer<R>);

impl<R> Promise<R> {
    /// Resolves the reply with this value.
    pub fn fulfil(self, value: R) {
        self.resolve(Ok(value));
    }

    /// Resolves the reply with this error.
    pub fn fail(self, error: CallError) {
        self.resolve(Err(error));
    }

    /// Resolves the reply with this answer or error.
    pub fn resolve(self, answer: Result<R, CallError>) {
        self.0.complete(answer);
    }

    /// Resolves the reply with this error, and calls `unread` if the reply is dropped unread.
    ///
    /// The reply may have been dropped before. A reply that was [cancelled](Reply::cancel) counts as read. `unread` is
    /// called on the thread that drops the reply, or on this one; its panic is logged.
    ///
    /// ```
    /// use interloop::{CallError, channel::promise};
    /// use std::sync::mpsc;
    ///
    /// let (job, reply) = promise::<()>();
    /// let (tell, told) = mpsc::channel();
    /// job.fail_or(CallError::Failed("no paper".into()), move || tell.send("nobody knows").unwrap());
    /// assert!(told.try_recv().is_err());
    /// drop(reply);
    /// assert_eq!(told.try_recv(), Ok("nobody knows"));
    /// ```
    pub fn fail_or(self, error: CallError, unread: impl FnOnce() + Send + 'static) {
        self.0.fail(error, Unread::new(unread));
    }

    /// Resolves the reply with the value that `work` returns, or, if it panics, with [`Panicked`](CallError::Panicked).
    ///
    /// If the reply was cancelled before, `work` isn't called.
    pub fn run(mut self, work: impl FnOnce() -> R) {
        let answer = if self.is_cancelled() {
            Err(catch(|| drop(work)).err().map_or(CallError::Cancelled, CallError::Panicked))
        } else {
            self.begin();
            catch(work).map_err(CallError::Panicked)
        };
        self.resolve(answer);
    }

    /// Marks the work as begun: if the promise is dropped from here on, the answer is
    /// [`Cancelled`](CallError::Cancelled).
    ///
    /// The progress of the work is unknown then.
    pub fn begin(&mut self) {
        self.0.begin();
    }

    /// Whether a cancel was requested by [`Reply::cancel`] or [`CancelOnDrop`](crate::channel::CancelOnDrop).
    ///
    /// An answer is of no use then, but does no harm.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns a future that is ready when a cancel is requested, to await beside the work, on any thread.
    ///
    /// If one promise has several such futures, the one that was polled last is woken.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled(self.0.control())
    }

    /// Whether the reply still exists. A caller that dropped it without cancelling may still want the work done.
    pub fn is_awaited(&self) -> bool {
        self.0.is_awaited()
    }
}

impl<R> fmt::Debug for Promise<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").field("awaited", &self.is_awaited()).field("cancelled", &self.is_cancelled()).finish()
    }
}

/// The future of [`Promise::cancelled`]. `Send`, on any executor.
///
/// # Cancel safety
///
/// Dropping the future loses nothing: the cancel is latched.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Cancelled(Arc<Control>);

impl Cancelled {
    /// Whether a cancel was requested.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl Future for Cancelled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Register, then check: a cancel in between finds the waker.
        self.0.register(cx.waker());
        if self.0.is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<T: 'static> Remote<T> {
    /// Calls the closure on the value's loop with a [`Promise`], for an answer that comes after the closure returns.
    ///
    /// The promise may be kept, handed on, and fulfilled there or elsewhere. The [`Reply`] always resolves:
    /// [`Stopped`](CallError::Stopped) and [`Full`](CallError::Full) as with [`call`](Self::call);
    /// [`Cancelled`](CallError::Cancelled) if the promise is dropped; [`Panicked`](CallError::Panicked) if the closure
    /// panics, whatever becomes of the promise; and `Stopped` if the value's loop is left behind.
    ///
    /// ```
    /// use std::{cell::RefCell, time::Duration};
    /// use interloop::{Service, Slot, Thread, channel::Promise, task_fn};
    ///
    /// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    /// // The callers that wait for the door to open.
    /// let (slot, door) = Slot::<RefCell<Vec<Promise<&'static str>>>>::new("door");
    /// let mut service = Service::new("house");
    /// service.task("door", task_fn::<Thread>(async move |cx| {
    ///     cx.fill(slot, RefCell::default());
    ///     Ok(cx.until_shutdown().await)
    /// }));
    /// let running = service.start()?;
    /// let opened = door.ask(|waiting, promise| waiting.borrow_mut().push(promise));
    /// door.call(|waiting| waiting.take().into_iter().for_each(|promise| promise.fulfil("come in"))).detach();
    /// assert_eq!(opened.wait_timeout(Duration::from_secs(10)), Ok("come in"));
    /// running.stop();
    /// # Ok(())
    /// # }
    /// ```
    pub fn ask<R: Send + 'static>(&self, f: impl FnOnce(&T, Promise<R>) + Send + 'static) -> Reply<R> {
        let span = Span::current();
        self.request(move |_, value: Rc<T>, completer| {
            completer.hand_to(|completer| span.run(|| f(&value, Promise(completer))));
        })
    }

    /// Calls the closure as [`ask`](Self::ask) does, with an existing promise.
    ///
    /// For instance, a value that ends hands its promises to its successor at the address. Until the closure is called,
    /// the work counts as not [begun](Promise::begin).
    pub fn ask_with<R: Send + 'static>(&self, promise: Promise<R>, f: impl FnOnce(&T, Promise<R>) + Send + 'static) {
        let span = Span::current();
        self.request_again(promise.0, move |_, value: Rc<T>, completer| {
            completer.hand_to(|completer| span.run(|| f(&value, Promise(completer))));
        });
    }

    /// Returns a pair as [`promise()`] does, for an answer from the value's loop.
    ///
    /// If that loop is left behind, the [`Reply`] resolves as [`Stopped`](CallError::Stopped).
    pub fn promise<R: Send + 'static>(&self) -> (Promise<R>, Reply<R>) {
        let (reply, completer) = Reply::from(self.address());
        (Promise(completer), reply)
    }

    /// Blocks this thread until a future is ready whose output comes from the value's loop, as [`Reply::wait`] does for
    /// replies.
    ///
    /// Use it for the blocking form of an async method of a [handle](crate::task::TaskHandle).
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](CallError::WouldBlock) at once where `Reply::wait` does.
    pub fn wait_for<F: Future>(&self, future: F) -> Result<F::Output, CallError> {
        self.wait_at_most(future, None)
    }

    /// Waits as [`wait_for`](Self::wait_for) does, but for at most `timeout`.
    ///
    /// # Errors
    ///
    /// Returns [`TimedOut`](CallError::TimedOut) after `timeout`, and drops the future; `WouldBlock` as `wait_for`
    /// does.
    pub fn wait_for_timeout<F: Future>(&self, future: F, timeout: Duration) -> Result<F::Output, CallError> {
        self.wait_at_most(future, Some(timeout))
    }

    fn wait_at_most<F: Future>(&self, future: F, timeout: Option<Duration>) -> Result<F::Output, CallError> {
        if !this_thread::may_block_on(self.address().loop_()) {
            return Err(CallError::WouldBlock);
        }
        block::on(future, timeout).ok_or(CallError::TimedOut)
    }
}
