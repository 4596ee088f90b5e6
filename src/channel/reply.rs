//! The answer to a cross-loop call.

use std::{
    cell::Cell,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use atomic_waker::AtomicWaker;

use super::{
    address::Address,
    control::{Control, Ended},
    shared::Shared,
    this_thread,
    waiting::{Heartbeat, Waiting},
};
use crate::{
    kit::{
        block,
        panics::{catch, say},
        sync::{AtomicBool, Mutex, Ordering, lock},
    },
    words::call_error::CallError,
};

struct State<R> {
    inner: Mutex<Inner<R>>,
}

struct Inner<R> {
    result: Option<Result<R, CallError>>,
    done: bool,
    waker: Option<Waker>,
    cancelled: bool,
    /// The reply was dropped.
    dropped: bool,
    /// Called if nobody reads the failure in `result`.
    unread: Option<Unread>,
    /// The control of the future that makes the answer, if a future does.
    control: Option<Arc<Control>>,
}

/// A callback for a failure that nobody reads, called when this is dropped.
pub(crate) struct Unread(Option<Box<dyn FnOnce() + Send>>);

impl Unread {
    pub(crate) fn new(tell: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }

    /// Marks the failure as read.
    fn read(mut self) {
        let tell = self.0.take();
        if let Err(panic) = catch(|| drop(tell)) {
            say(format_args!("the drop of what waits for an unread failure panicked"), &panic);
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take()
            && let Err(panic) = catch(tell)
        {
            say(format_args!("what waits for an unread failure panicked"), &panic);
        }
    }
}

impl<R> State<R> {
    /// Asks the producer of the answer to stop.
    fn cancel(&self) {
        let control = {
            let mut inner = lock(&self.inner);
            inner.cancelled = true;
            inner.control.clone()
        };
        if let Some(control) = control {
            control.cancel();
        }
    }

    /// Stores the result; the first one counts.
    fn resolve(&self, result: Result<R, CallError>) {
        let (waker, unused) = {
            let mut inner = lock(&self.inner);
            if inner.done {
                (None, Some(result))
            } else {
                inner.done = true;
                inner.result = Some(result);
                (inner.waker.take(), None)
            }
        };
        drop(unused);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The entry of a child's reply once it is awaited on another loop: the answer itself need not be `Send`.
#[derive(Default)]
struct Abandoned {
    told: AtomicBool,
    waker: AtomicWaker,
}

impl Waiting for Abandoned {
    fn stopped(&self) {
        self.told.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn look_again(&self) {
        self.waker.wake();
    }
}

impl<R: Send> Waiting for State<R> {
    fn stopped(&self) {
        self.resolve(Err(CallError::Stopped));
    }

    fn look_again(&self) {
        let waker = lock(&self.inner).waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The answer to [`Remote::call`](crate::Remote::call) or [`spawn`](crate::Remote::spawn): a future, on any executor or
/// none.
///
/// It always resolves. Dropping it detaches the work, which continues unobserved.
///
/// # Cancel safety
///
/// Polling it by reference (`&mut reply` in a `select!`) loses nothing.
#[must_use = "dropping a reply detaches it: await it, or say so with `.detach()`"]
pub struct Reply<R> {
    state: Arc<State<R>>,
    /// Where it is listed while it waits, so that waiters of an abandoned loop are told.
    target: Option<(Arc<Address>, Weak<dyn Waiting>)>,
    listed: Option<(Arc<Shared>, usize)>,
    /// Whether its target, which has no loop yet, will have it check again.
    noted: bool,
    polled: bool,
    /// The loop of a child.
    home: Option<Arc<Shared>>,
    abandoned: Option<Arc<Abandoned>>,
}

impl<R> Reply<R> {
    /// Returns a reply from this very thread: `R` may be `!Send`.
    pub(crate) fn local() -> (Self, Completer<R>) {
        let inner = Inner {
            result: None,
            done: false,
            waker: None,
            cancelled: false,
            dropped: false,
            unread: None,
            control: None,
        };
        let state = Arc::new(State { inner: Mutex::new(inner) });
        let reply = Self {
            state: state.clone(),
            target: None,
            listed: None,
            noted: false,
            polled: false,
            home: None,
            abandoned: None,
        };
        (reply, Completer { state, begun: false })
    }

    /// Returns the reply of a child on this loop.
    pub(crate) fn of_child(loop_: &Arc<Shared>) -> (Self, Completer<R>) {
        let (mut reply, completer) = Self::local();
        reply.home = Some(loop_.clone());
        (reply, completer)
    }

    /// Lets the work continue unobserved.
    pub fn detach(self) {}

    /// Requests a cancel: a queued closure never runs, and a future is dropped on its loop before its next poll.
    ///
    /// A closure that already runs continues.
    pub fn cancel(self) {
        self.state.cancel();
    }

    /// Returns a future of the same answer that cancels when it is dropped.
    pub fn cancel_on_drop(self) -> CancelOnDrop<R> {
        CancelOnDrop(self)
    }

    /// Whether the answer has arrived.
    pub fn is_done(&self) -> bool {
        lock(&self.state.inner).done
    }

    /// Blocks this thread until the answer arrives, forever if need be.
    ///
    /// It always arrives: if the loop stops or is left behind, the reply says so. Threads that must not wait that long
    /// use [`wait_timeout`](Self::wait_timeout).
    ///
    /// # Errors
    ///
    /// Returns the reply's errors, and [`WouldBlock`](CallError::WouldBlock), at once, on the thread of a loop. Only a
    /// task on the reference loop [`Thread`](crate::Thread) may wait, for another loop.
    pub fn wait(self) -> Result<R, CallError> {
        self.wait_at_most(None)
    }

    /// Waits as [`wait`](Self::wait) does, but for at most `timeout`.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`wait`](Self::wait), and [`TimedOut`](CallError::TimedOut) after `timeout`; the work
    /// continues.
    pub fn wait_timeout(self, timeout: Duration) -> Result<R, CallError> {
        self.wait_at_most(Some(timeout))
    }

    fn wait_at_most(self, timeout: Option<Duration>) -> Result<R, CallError> {
        let asked = self.target.as_ref().and_then(|(address, _)| address.loop_().cloned());
        let target =
            asked.or_else(|| self.listed.as_ref().map(|(loop_, _)| loop_.clone())).or_else(|| self.home.clone());
        // A heartbeat may be requested from this very loop.
        let is_own = target.is_none() && this_thread::is_driven();
        let may_block = !is_own && this_thread::may_block_on(target.as_ref());
        if !self.is_done() && !may_block {
            return Err(CallError::WouldBlock);
        }
        block::on(self, timeout).unwrap_or(Err(CallError::TimedOut))
    }

    /// Makes sure that a child's reply that is awaited elsewhere is told when its loop is left behind; returns whether
    /// that has happened.
    fn is_abandoned(&mut self, cx: &Context<'_>) -> bool {
        let Some(home) = self.home.as_ref().filter(|home| !this_thread::is_on(home)) else { return false };
        if self.abandoned.is_none() {
            let abandoned: Arc<Abandoned> = Arc::default();
            let waiting: Arc<dyn Waiting> = abandoned.clone();
            let Some(id) = home.list(&Arc::downgrade(&waiting)) else { return true };
            self.listed = Some((home.clone(), id));
            self.abandoned = Some(abandoned);
        }
        self.abandoned.as_ref().is_some_and(|abandoned| {
            abandoned.waker.register(cx.waker());
            abandoned.told.load(Ordering::Acquire)
        })
    }

    fn unlist(&mut self) {
        if let Some((target, id)) = self.listed.take() {
            target.unlist(id);
        }
    }
}

impl<R: Send + 'static> Reply<R> {
    /// Returns a reply for a request to this address.
    pub(crate) fn from(address: &Arc<Address>) -> (Self, Completer<R>) {
        let (mut reply, completer) = Self::local();
        let state: Arc<dyn Waiting> = reply.state.clone();
        reply.target = Some((address.clone(), Arc::downgrade(&state)));
        (reply, completer)
    }
}

impl<R> Future for Reply<R> {
    type Output = Result<R, CallError>;

    /// # Panics
    ///
    /// Panics if polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // The waker is cloned, and the previous one dropped, outside the lock: wakers are user code, and the thread
        // that resolves this takes the lock. A first poll usually keeps its waker, and a second one usually finds the
        // answer: each locks once.
        let mut waker = if this.polled { None } else { Some(cx.waker().clone()) };
        this.polled = true;
        loop {
            let mut inner = lock(&this.state.inner);
            if inner.done {
                let (result, unread) = (inner.result.take(), inner.unread.take());
                drop(inner);
                if let Some(unread) = unread {
                    unread.read();
                }
                this.unlist();
                return Poll::Ready(result.expect("a Reply was polled after it was ready"));
            }
            if inner.waker.as_ref().is_some_and(|kept| kept.will_wake(cx.waker())) {
                break;
            }
            if let Some(waker) = waker.take() {
                let before = inner.waker.replace(waker);
                drop(inner);
                drop(before);
                break;
            }
            drop(inner);
            waker = Some(cx.waker().clone());
        }
        if this.is_abandoned(cx) {
            return Poll::Ready(Err(CallError::Stopped));
        }
        if let (None, Some((address, waiting))) = (&this.listed, &this.target)
            && let Some(loop_) = address.loop_or_later(waiting, &mut this.noted)
        {
            match loop_.list(waiting) {
                Some(id) => this.listed = Some((loop_.clone(), id)),
                // The loop is dead: jobs that it had accepted won't be answered. This wakes us.
                None => this.state.resolve(Err(CallError::Stopped)),
            }
        }
        Poll::Pending
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        self.unlist();
        let (unread, cancelled) = {
            let mut inner = lock(&self.state.inner);
            inner.dropped = true;
            (inner.unread.take(), inner.cancelled)
        };
        // A caller that has cancelled it wants no further news.
        if let (true, Some(unread)) = (cancelled, unread) {
            unread.read();
        }
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("done", &self.is_done()).finish()
    }
}

/// The future that [`Reply::cancel_on_drop`] returns.
#[derive(Debug)]
#[must_use = "dropping it cancels"]
pub struct CancelOnDrop<R>(Reply<R>);

impl<R> Future for CancelOnDrop<R> {
    type Output = Result<R, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<R> Drop for CancelOnDrop<R> {
    fn drop(&mut self) {
        self.0.state.cancel();
    }
}

/// The other end of a [`Reply`]. Dropping it resolves the reply too.
pub(crate) struct Completer<R> {
    state: Arc<State<R>>,
    begun: bool,
}

impl<R> Completer<R> {
    pub(crate) fn is_cancelled(&self) -> bool {
        lock(&self.state.inner).cancelled
    }

    /// Returns the control that cancels the future that makes the answer. It is created at the first call, since most
    /// answers need none.
    pub(crate) fn control(&self) -> Arc<Control> {
        let mut inner = lock(&self.state.inner);
        let cancelled = inner.cancelled;
        let control = inner.control.get_or_insert_with(|| Arc::new(Control::new())).clone();
        drop(inner);
        if cancelled {
            control.cancel();
        }
        control
    }

    /// Whether the reply still exists.
    pub(crate) fn is_awaited(&self) -> bool {
        !lock(&self.state.inner).dropped
    }

    /// Completes with a failure; `unread` is called if nobody reads it.
    pub(crate) fn fail(self, error: CallError, unread: Unread) {
        let (unused, is_read) = {
            let mut inner = lock(&self.state.inner);
            let is_read = inner.dropped && inner.cancelled;
            let unused = if inner.done || inner.dropped { Some(unread) } else { inner.unread.replace(unread) };
            (unused, is_read)
        };
        match unused {
            Some(unread) if is_read => unread.read(),
            unread => drop(unread),
        }
        self.complete(Err(error));
    }

    /// Hands the completer to this closure; if that panics, the reply says so, unless it was answered before.
    pub(crate) fn hand_to(self, f: impl FnOnce(Self)) {
        let state = self.state.clone();
        let asked = Asked::begin(&state);
        let handed = catch(|| f(self));
        drop(asked);
        if let Err(panic) = handed {
            state.resolve(Err(CallError::Panicked(panic)));
        }
    }

    /// Marks the work as begun: from here on a drop means Cancelled, not Stopped.
    pub(crate) fn begin(&mut self) {
        self.begun = true;
    }

    /// Marks the work as not begun: a drop means Stopped again. The attempt has failed, and another one must begin.
    pub(crate) fn begin_anew(&mut self) {
        self.begun = false;
    }

    pub(crate) fn complete(self, result: Result<R, CallError>) {
        self.state.resolve(result);
    }

    pub(crate) fn end(self, ended: Ended<R>) {
        self.complete(match ended {
            Ended::Returned(value) => Ok(value),
            Ended::Panicked(message) => Err(CallError::Panicked(message)),
            Ended::Cancelled => Err(CallError::Cancelled),
        });
    }
}

thread_local! {
    /// The answer that this thread's current work is for; 0 for none.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

/// Marks that this thread runs the work for an answer. If a panic of the work drops its completer,
/// [`Completer::hand_to`] reports the panic's message.
struct Asked(usize);

impl Asked {
    fn begin<R>(state: &Arc<State<R>>) -> Self {
        Self(ASKED.try_with(|asked| asked.replace(Arc::as_ptr(state).addr())).unwrap_or(0))
    }

    fn is<R>(state: &Arc<State<R>>) -> bool {
        std::thread::panicking() && ASKED.try_with(Cell::get) == Ok(Arc::as_ptr(state).addr())
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let _ = ASKED.try_with(|asked| asked.set(self.0));
    }
}

impl<R> Drop for Completer<R> {
    fn drop(&mut self) {
        if Asked::is(&self.state) {
            return;
        }
        self.state.resolve(Err(if self.begun { CallError::Cancelled } else { CallError::Stopped }));
    }
}

impl Heartbeat for Completer<()> {
    fn is_awaited(&self) -> bool {
        self.is_awaited()
    }

    fn beat(self: Box<Self>) {
        self.complete(Ok(()));
    }
}

impl Shared {
    /// Requests a heartbeat: the reply resolves as soon as the loop has checked its mailbox.
    pub(crate) fn heartbeat(&self) -> Reply<()> {
        let (reply, completer) = Reply::local();
        self.add_heartbeat(Box::new(completer));
        reply
    }
}
