//! The other end of the cross-loop channel: typed, from any thread.

use std::{
    any::{Any, type_name},
    collections::VecDeque,
    fmt,
    future::Future,
    marker::PhantomData,
    rc::Rc,
    sync::{Arc, OnceLock, Weak},
};

use super::{
    local::Local,
    queue::Refused,
    reply::{Completer, Reply, Waiting},
    shared::{Job, MAILBOX_CAPACITY, Shared},
    this_thread::Label,
};
use crate::{
    kit::{
        clock::Busy,
        panics::catch,
        sync::{AtomicBool, AtomicUsize, Mutex, Ordering, lock},
        trace::Span,
    },
    words::call_error::CallError,
};

/// Where a value can be reached: an address, which outlives the value. Known before the loop runs, and kept through restarts.
///
/// Invariant: jobs of one sender reach the value in order. Before the first `bind` they wait in `parked`; `bind` takes them out, under the lock, before
/// it sets `loop_`, so what a sender puts into the mailbox afterwards comes later. Once bound, only the loop's thread parks.
pub(crate) struct Address {
    key: u64,
    name: Arc<str>,
    loop_: OnceLock<Arc<Shared>>,
    closed: AtomicBool,
    parked_len: AtomicUsize,
    parked: Mutex<VecDeque<Job>>,
    /// Replies that wait already, while there is no loop yet to list them at: the first bind tells them to look again.
    early: Mutex<Vec<Weak<dyn Waiting>>>,
}

impl Address {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        Arc::new(Self {
            key: NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            name: name.into(),
            loop_: OnceLock::new(),
            closed: AtomicBool::new(false),
            parked_len: AtomicUsize::new(0),
            parked: Mutex::default(),
            early: Mutex::default(),
        })
    }

    /// An address at this loop from the beginning.
    pub(crate) fn at(name: &str, loop_: &Arc<Shared>) -> Arc<Self> {
        let address = Self::new(name);
        // It is fresh: nobody else can have bound it.
        let _ = address.bind(loop_);
        address
    }

    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn loop_(&self) -> Option<&Arc<Shared>> {
        self.loop_.get()
    }

    /// The loop; while there is none, notes once that this reply is to be told when there is.
    pub(crate) fn loop_or_later(&self, waiting: &Weak<dyn Waiting>, noted: &mut bool) -> Option<&Arc<Shared>> {
        if self.loop_.get().is_none() && !*noted {
            let mut early = lock(&self.early);
            // Under the lock: the first bind sets the loop, then takes the list.
            if self.loop_.get().is_none() {
                early.push(waiting.clone());
                *noted = true;
            }
        }
        self.loop_.get()
    }

    /// How many jobs may wait here: as many as in a mailbox.
    fn capacity(&self) -> usize {
        self.loop_.get().map_or(MAILBOX_CAPACITY, |loop_| loop_.queue.capacity())
    }

    /// The value lives at this loop from now on; returns the jobs that waited for it.
    pub(crate) fn bind(self: &Arc<Self>, loop_: &Arc<Shared>) -> Result<VecDeque<Job>, &'static str> {
        let mut parked = lock(&self.parked);
        if loop_.queue.is_closed() {
            return Err("its loop is ending");
        }
        if self.loop_.get().is_some_and(|bound| !Arc::ptr_eq(bound, loop_)) {
            return Err("it was filled on another loop before");
        }
        let waited = std::mem::take(&mut *parked);
        self.parked_len.store(0, Ordering::Release);
        // Closed when its task ended, and now somebody has started that again.
        self.closed.store(false, Ordering::Release);
        let first = self.loop_.set(loop_.clone()).is_ok();
        if first {
            loop_.register(self);
        }
        drop(parked);
        if first {
            let early = std::mem::take(&mut *lock(&self.early));
            early.iter().filter_map(Weak::upgrade).for_each(|reply| reply.look_again());
        }
        Ok(waited)
    }

    /// Accepts a job for the value, or gives it back.
    fn send(&self, job: Job) -> Result<(), Refused<Job>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Refused::Closed(job));
        }
        if self.parked_len.load(Ordering::Acquire) >= self.capacity() {
            return Err(Refused::Full(job));
        }
        if let Some(loop_) = self.loop_.get() {
            return loop_.push(job);
        }
        let mut parked = lock(&self.parked);
        if self.closed.load(Ordering::Acquire) {
            return Err(Refused::Closed(job));
        }
        if let Some(loop_) = self.loop_.get() {
            // Bound just now; it has taken what was parked.
            drop(parked);
            return loop_.push(job);
        }
        if parked.len() >= self.capacity() {
            return Err(Refused::Full(job));
        }
        parked.push_back(job);
        self.parked_len.store(parked.len(), Ordering::Release);
        Ok(())
    }

    /// Keeps a job for the next incarnation of the value; gives it back when there will be none.
    pub(crate) fn park(&self, job: Job) -> Result<(), Job> {
        let mut parked = lock(&self.parked);
        if self.closed.load(Ordering::Acquire) {
            return Err(job);
        }
        parked.push_back(job);
        self.parked_len.store(parked.len(), Ordering::Release);
        Ok(())
    }

    /// There will be no value any more: what waits is dropped, and its Replies resolve as Stopped.
    pub(crate) fn close(&self) {
        self.close_and_take().into_iter().for_each(|job| drop(catch(|| drop(job))));
    }

    /// As [`close`](Self::close), but returns what has no loop yet that sees to its drop.
    pub(crate) fn close_and_take(&self) -> Vec<Job> {
        let jobs = {
            let mut parked = lock(&self.parked);
            self.closed.store(true, Ordering::Release);
            self.parked_len.store(0, Ordering::Release);
            std::mem::take(&mut *parked)
        };
        match self.loop_.get() {
            Some(loop_) => loop_.discard(jobs.into()),
            None => return jobs.into(),
        }
        Vec::new()
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        if let Some(loop_) = self.loop_.get() {
            loop_.unregister(self.key);
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("name", &self.name)
            .field("loop", &self.loop_.get().map(|l| l.name().clone()))
            .finish()
    }
}

/// Why a job was not accepted; the closure comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostError<F> {
    /// The loop, or the task that shared the value, has ended for good.
    Stopped(F),
    /// The mailbox holds as many jobs as it may.
    Full(F),
}

impl<F> PostError<F> {
    /// The closure that was not accepted.
    pub fn into_inner(self) -> F {
        match self {
            Self::Stopped(f) | Self::Full(f) => f,
        }
    }

    /// Whether trying again later may help.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl<F> fmt::Debug for PostError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "Full(..)" } else { "Stopped(..)" })
    }
}

impl<F> fmt::Display for PostError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_full() { CallError::Full.fmt(f) } else { CallError::Stopped.fmt(f) }
    }
}

impl<F> std::error::Error for PostError<F> {}

/// Reaches a `T` on its loop's thread, from any thread: `Clone + Send + Sync`, whatever `T` is.
///
/// It is an address: it is there before the loop runs, and survives restarts. What is asked while there is no value waits, and runs in order on the
/// next. Jobs of one sender run in the order in which they were sent.
///
/// ```
/// # use interloop::Remote;
/// # use std::{cell::RefCell, rc::Rc};
/// fn is_send<T: Send + Sync + Clone>() {}
/// is_send::<Remote<Rc<RefCell<u8>>>>();
/// ```
pub struct Remote<T> {
    address: Arc<Address>,
    reaches: PhantomData<fn(&T)>,
}

impl<T: 'static> Remote<T> {
    pub(crate) fn new(address: Arc<Address>) -> Self {
        Self { address, reaches: PhantomData }
    }

    /// Runs the closure on the value's loop, some time soon. It returns at once.
    ///
    /// A panic of the closure is logged; the loop lives on.
    ///
    /// # Errors
    ///
    /// Gives back what was not accepted: [`Stopped`](PostError::Stopped) or [`Full`](PostError::Full).
    pub fn post<F: FnOnce(&T) + Send + 'static>(&self, f: F) -> Result<(), PostError<F>> {
        let give_back = |work: Box<dyn Work>| {
            let post = work.into_any().downcast::<Post<T, F>>().expect("it is the box that was sent");
            post.f
        };
        self.send(Box::new(Post { f, span: Span::current(), reaches: PhantomData })).map_err(|refused| match refused {
            Refused::Closed(work) => PostError::Stopped(give_back(work)),
            Refused::Full(work) => PostError::Full(give_back(work)),
        })
    }

    /// Runs the closure on the value's loop and brings back what it returns.
    ///
    /// The [`Reply`] is a future, and always resolves; when the call is not accepted, it says so there.
    pub fn call<R: Send + 'static>(&self, f: impl FnOnce(&T) -> R + Send + 'static) -> Reply<R> {
        let span = Span::current();
        self.ask(move |_, value: Rc<T>, completer| match catch(|| span.run(|| f(&value))) {
            Ok(result) => completer.complete(Ok(result)),
            Err(panic) => completer.complete(Err(CallError::Panicked(panic))),
        })
    }

    /// Makes a future on the value's loop, runs it there, and brings back what it returns. The future may be `!Send`: only the closure travels.
    pub fn spawn<R, Fut>(&self, f: impl FnOnce(Rc<T>) -> Fut + Send + 'static) -> Reply<R>
    where
        R: Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        let span = Span::current();
        self.ask(move |local, value: Rc<T>, completer: Completer<R>| {
            let made = catch(|| {
                // The caller's; or, if there is none, that of the task whose value it is.
                let span = span.or(Span::current);
                (span.in_scope(|| f(value)), span)
            });
            match made {
                Ok((future, span)) => {
                    let control = completer.control();
                    local.spawn(future, control, Label::job(), span, |ended| completer.end(ended));
                }
                Err(panic) => completer.complete(Err(CallError::Panicked(panic))),
            }
        })
    }

    /// Hands the other end of the reply to the closure, on the value's loop.
    pub(crate) fn ask<R, F>(&self, f: F) -> Reply<R>
    where
        R: Send + 'static,
        F: FnOnce(&Rc<Local>, Rc<T>, Completer<R>) + Send + 'static,
    {
        let (reply, completer) = Reply::from(&self.address);
        self.ask_for(completer, f);
        reply
    }

    /// As [`ask`](Self::ask), for somebody who has asked already, and got no answer from a value that is gone.
    pub(crate) fn ask_again<R, F>(&self, mut completer: Completer<R>, f: F)
    where
        R: Send + 'static,
        F: FnOnce(&Rc<Local>, Rc<T>, Completer<R>) + Send + 'static,
    {
        completer.begin_anew();
        self.ask_for(completer, f);
    }

    fn ask_for<R, F>(&self, completer: Completer<R>, f: F)
    where
        R: Send + 'static,
        F: FnOnce(&Rc<Local>, Rc<T>, Completer<R>) + Send + 'static,
    {
        // A job that comes back closed is dropped, and its completer says Stopped.
        if let Err(Refused::Full(work)) = self.send(Box::new(Ask { completer, f, reaches: PhantomData::<fn(&T)> }))
            && let Ok(ask) = work.into_any().downcast::<Ask<T, R, F>>()
        {
            ask.completer.complete(Err(CallError::Full));
        }
    }

    fn send(&self, work: Box<dyn Work>) -> Result<(), Refused<Box<dyn Work>>> {
        let work_of = |job| match job {
            Job::For(_, work, _) => work,
            Job::Errand(..) => unreachable!("it is the job that was sent"),
        };
        self.address.send(Job::For(self.address.key(), work, Busy::default())).map_err(|refused| match refused {
            Refused::Closed(job) => Refused::Closed(work_of(job)),
            Refused::Full(job) => Refused::Full(work_of(job)),
        })
    }
}

impl<T> Clone for Remote<T> {
    fn clone(&self) -> Self {
        Self { address: self.address.clone(), reaches: PhantomData }
    }
}

impl<T> fmt::Debug for Remote<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("type", &type_name::<T>()).field("address", &self.address).finish()
    }
}

/// What is asked of the value that an address stands for.
pub(crate) trait Work: Send {
    /// On the value's loop.
    fn run(self: Box<Self>, local: &Rc<Local>, value: Rc<dyn Any>);
    /// To get back what was not accepted.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

struct Post<T, F> {
    f: F,
    span: Span,
    reaches: PhantomData<fn(&T)>,
}

impl<T: 'static, F: FnOnce(&T) + Send + 'static> Work for Post<T, F> {
    fn run(self: Box<Self>, _: &Rc<Local>, value: Rc<dyn Any>) {
        if let Ok(value) = value.downcast::<T>() {
            let Self { f, span, .. } = *self;
            span.run(|| f(&value));
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

struct Ask<T, R, F> {
    // Before `f`: dropped unrun, it resolves the Reply even if the drop of `f` panics.
    completer: Completer<R>,
    f: F,
    reaches: PhantomData<fn(&T)>,
}

impl<T, R, F> Work for Ask<T, R, F>
where
    T: 'static,
    R: Send + 'static,
    F: FnOnce(&Rc<Local>, Rc<T>, Completer<R>) + Send + 'static,
{
    fn run(mut self: Box<Self>, local: &Rc<Local>, value: Rc<dyn Any>) {
        if self.completer.is_cancelled() {
            let Self { completer, f, .. } = *self;
            let dropped = catch(|| drop(f));
            return completer.complete(Err(dropped.err().map_or(CallError::Cancelled, CallError::Panicked)));
        }
        if let Ok(value) = value.downcast::<T>() {
            self.completer.begin();
            (self.f)(local, value, self.completer);
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// The place for a value that a task will put on its loop: see [`Service::slot`](crate::Service::slot) and [`Context::fill`](crate::Context::fill).
///
/// A clone stands for the same place: a task that is made anew at each restart fills it each time. When the last clone is dropped and the place was
/// never filled, what waits there resolves as Stopped.
pub struct Slot<T> {
    place: Arc<Place>,
    holds: PhantomData<fn(T)>,
}

struct Place(Arc<Address>);

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.loop_().is_none() {
            self.0.close();
        }
    }
}

impl<T: 'static> Slot<T> {
    pub(crate) fn new(address: Arc<Address>) -> Self {
        Self { place: Arc::new(Place(address)), holds: PhantomData }
    }

    pub(crate) fn address(&self) -> &Arc<Address> {
        &self.place.0
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone(), holds: PhantomData }
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("type", &type_name::<T>()).field("address", &self.place.0).finish()
    }
}

#[cfg(all(test, not(feature = "tracing")))]
mod tests {
    use super::Post;

    #[test]
    fn without_the_feature_tracing_a_job_is_as_large_as_its_closure() {
        fn post<F: FnOnce(&u8)>(f: F) -> (usize, usize) {
            let size = size_of_val(&f);
            (
                size_of_val(&Post {
                    f,
                    span: crate::kit::trace::Span::current(),
                    reaches: std::marker::PhantomData::<fn(&u8)>,
                }),
                size,
            )
        }
        let text = String::from("seven");
        let (post, closure) = post(move |_| drop(text));
        assert_eq!(post, closure);
    }
}
