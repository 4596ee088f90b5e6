//! Answers that come later than the call for them returns.

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

/// A [`Reply`], and the [`Promise`] of it: for an answer that anybody gives, on any thread.
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
/// Such a reply knows of no loop: who waits for a promise that is kept on a loop that is left behind waits for ever.
/// [`Remote::ask`] and [`Remote::promise`] make replies that do.
pub fn promise<R>() -> (Promise<R>, Reply<R>) {
    let (reply, completer) = Reply::local();
    (Promise(completer), reply)
}

/// The other end of a [`Reply`]: whoever holds it owes the answer. The first answer counts.
///
/// Dropped, it answers too: [`Stopped`](CallError::Stopped), and once the work has [begun](Self::begin)
/// [`Cancelled`](CallError::Cancelled).
#[must_use = "dropping a promise breaks it"]
pub struct Promise<R>(Completer<R>);

impl<R> Promise<R> {
    /// The answer.
    pub fn fulfil(self, value: R) {
        self.resolve(Ok(value));
    }

    /// There is none, for this reason.
    pub fn fail(self, error: CallError) {
        self.resolve(Err(error));
    }

    /// The answer, or why there is none.
    pub fn resolve(self, answer: Result<R, CallError>) {
        self.0.complete(answer);
    }

    /// There is none, for this reason; `unread` is called if nobody hears of it: when the reply is dropped unread,
    /// which may have been before. A reply that was [cancelled](Reply::cancel) counts as read. It is called on the
    /// thread that drops the reply, or on this one; its panic is logged.
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

    /// The answer is what this returns; or, if it panics, [`Panicked`](CallError::Panicked). If the reply was cancelled
    /// before, it isn't called.
    pub fn run(mut self, work: impl FnOnce() -> R) {
        let answer = if self.is_cancelled() {
            Err(catch(|| drop(work)).err().map_or(CallError::Cancelled, CallError::Panicked))
        } else {
            self.begin();
            catch(work).map_err(CallError::Panicked)
        };
        self.resolve(answer);
    }

    /// The work for it has begun: if the promise is dropped from here on, the answer is
    /// [`Cancelled`](CallError::Cancelled), since nobody knows how far it came.
    pub fn begin(&mut self) {
        self.0.begin();
    }

    /// Whether somebody asked that it stop, by [`Reply::cancel`] or [`CancelOnDrop`](crate::channel::CancelOnDrop). An
    /// answer is of no use then, and does no harm.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Ready when somebody asks that it stop: to wait for besides the work, from any thread. Of several of one promise
    /// the one that was polled last is woken.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled(self.0.control())
    }

    /// Whether anybody holds the reply still. Who dropped it without cancelling it may want the work done all the same.
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
/// Nothing is lost when it is dropped: the cancel is latched.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Cancelled(Arc<Control>);

impl Cancelled {
    /// Whether somebody has asked that it stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl Future for Cancelled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Register, then look: a cancel in between finds the waker.
        self.0.register(cx.waker());
        if self.0.is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<T: 'static> Remote<T> {
    /// Calls the closure on the value's loop, with a [`Promise`] to be kept, handed on, and fulfilled there or
    /// elsewhere: for an answer that comes later than the closure returns.
    ///
    /// The [`Reply`] always resolves: [`Stopped`](CallError::Stopped) and [`Full`](CallError::Full) as with
    /// [`call`](Self::call); [`Cancelled`](CallError::Cancelled) when the promise is dropped;
    /// [`Panicked`](CallError::Panicked) when the closure panics, whatever becomes of the promise; and `Stopped` when
    /// the value's loop is left behind.
    ///
    /// ```
    /// use std::{cell::RefCell, time::Duration};
    /// use interloop::{Service, Slot, Thread, channel::Promise, task_fn};
    ///
    /// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    /// // Those who wait for the door to be opened.
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

    /// As [`ask`](Self::ask), with a promise that was made before: a value that goes hands on what it has promised, to
    /// the next at its address, say. Until the closure is called, the work counts as not [begun](Promise::begin).
    pub fn ask_with<R: Send + 'static>(&self, promise: Promise<R>, f: impl FnOnce(&T, Promise<R>) + Send + 'static) {
        let span = Span::current();
        self.request_again(promise.0, move |_, value: Rc<T>, completer| {
            completer.hand_to(|completer| span.run(|| f(&value, Promise(completer))));
        });
    }

    /// As [`promise()`], of an answer that comes from the value's loop: when that is left behind, the [`Reply`] says
    /// [`Stopped`](CallError::Stopped).
    pub fn promise<R: Send + 'static>(&self) -> (Promise<R>, Reply<R>) {
        let (reply, completer) = Reply::from(self.address());
        (Promise(completer), reply)
    }

    /// Blocks this thread until the future is ready, whose output comes from the value's loop: what [`Reply::wait`] is
    /// for replies. For the blocking form of an async method of a [handle](crate::task::TaskHandle).
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](CallError::WouldBlock), at once, where `Reply::wait` says so.
    pub fn wait_for<F: Future>(&self, future: F) -> Result<F::Output, CallError> {
        self.wait_at_most(future, None)
    }

    /// As [`wait_for`](Self::wait_for), but at most this long.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](CallError::TimedOut) after `timeout`, and the future is dropped; `WouldBlock` as `wait_for`.
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
