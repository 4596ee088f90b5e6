//! The other end of the cross-loop channel: typed, from any thread.

use std::{
    any::{Any, type_name},
    fmt,
    future::Future,
    marker::PhantomData,
    rc::Rc,
    sync::Arc,
};

use super::{
    address::Address,
    job::{Job, Work},
    local::Local,
    queue::Refused,
    reply::{Completer, Reply},
    this_thread::Label,
};
use crate::{
    kit::{clock::Busy, panics::catch, trace::Span},
    words::call_error::CallError,
};

/// The reason why a job was not accepted; it returns the closure.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostError<F> {
    /// The loop, or the task that shared the value, has ended for good.
    Stopped(F),
    /// The mailbox is full.
    Full(F),
}

impl<F> PostError<F> {
    /// Returns the closure that was not accepted.
    pub fn into_inner(self) -> F {
        match self {
            Self::Stopped(f) | Self::Full(f) => f,
        }
    }

    /// Whether a later attempt may succeed.
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

/// Reaches a `T` on its loop's thread, from any thread; it is `Clone + Send + Sync`, whatever `T` is.
///
/// It is an address: it exists before the loop runs, and survives restarts. Calls wait while there is no value, and run
/// in order on the next one. Jobs of one sender run in the order in which they were sent.
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

    pub(crate) fn address(&self) -> &Arc<Address> {
        &self.address
    }

    /// Runs the closure on the value's loop soon, and returns at once.
    ///
    /// A panic of the closure is logged; the loop continues.
    ///
    /// # Errors
    ///
    /// Returns the closure if it was not accepted: [`Stopped`](PostError::Stopped) or [`Full`](PostError::Full).
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

    /// Runs the closure on the value's loop and returns a reply with its result.
    ///
    /// The [`Reply`] is a future, and always resolves; if the call is not accepted, the reply says so.
    pub fn call<R: Send + 'static>(&self, f: impl FnOnce(&T) -> R + Send + 'static) -> Reply<R> {
        let span = Span::current();
        self.request(move |_, value: Rc<T>, completer| match catch(|| span.run(|| f(&value))) {
            Ok(result) => completer.complete(Ok(result)),
            Err(panic) => completer.complete(Err(CallError::Panicked(panic))),
        })
    }

    /// Makes a future on the value's loop, runs it there, and returns a reply with its output.
    ///
    /// The future may be `!Send`: only the closure travels.
    pub fn spawn<R, Fut>(&self, f: impl FnOnce(Rc<T>) -> Fut + Send + 'static) -> Reply<R>
    where
        R: Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        let span = Span::current();
        self.request(move |local, value: Rc<T>, completer: Completer<R>| {
            let made = catch(|| {
                // The caller's span or, if there is none, that of the value's task.
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
    pub(crate) fn request<R, F>(&self, f: F) -> Reply<R>
    where
        R: Send + 'static,
        F: FnOnce(&Rc<Local>, Rc<T>, Completer<R>) + Send + 'static,
    {
        let (reply, completer) = Reply::from(&self.address);
        self.request_for(completer, f);
        reply
    }

    /// Repeats a [`request`](Self::request) for a caller that got no answer, because the value was gone.
    pub(crate) fn request_again<R, F>(&self, mut completer: Completer<R>, f: F)
    where
        R: Send + 'static,
        F: FnOnce(&Rc<Local>, Rc<T>, Completer<R>) + Send + 'static,
    {
        completer.begin_anew();
        self.request_for(completer, f);
    }

    fn request_for<R, F>(&self, completer: Completer<R>, f: F)
    where
        R: Send + 'static,
        F: FnOnce(&Rc<Local>, Rc<T>, Completer<R>) + Send + 'static,
    {
        // A job that is refused as closed is dropped, and its completer says Stopped.
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
    // Before `f`: if this is dropped without running, it resolves the Reply even if the drop of `f` panics.
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
