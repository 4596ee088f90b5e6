//! tokio's context for futures on other loops.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use interloop::{CallError, Remote, channel::CancelOnDrop};
use pin_project_lite::pin_project;
use tokio::{
    runtime::Handle,
    task::{Unconstrained, unconstrained},
};

/// Gives a future on any other loop the context of a [`Tokio`](crate::Tokio) loop.
///
/// tokio's timers, sockets and `tokio::spawn` then work in the future. It is polled, and stays, where it is, and may be
/// `!Send`.
///
/// The runtime is asked for once, by a call, when the future is first polled. From then on the future is polled, and
/// dropped, inside [`Handle::enter`]. It is also unconstrained, since tokio's cooperative budget means nothing to a
/// loop of another kind: the future would come to a halt in mid-stream.
///
/// ```
/// # use std::time::Duration;
/// # use interloop::{Service, Thread, task_fn};
/// # use interloop_tokio::{Tokio, with_tokio};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut service = Service::new("guest");
/// let tokio = service.remote_to::<Tokio>();
/// service.task("guest", task_fn::<Thread>(async move |_| {
///     with_tokio(&tokio, async { tokio::time::sleep(Duration::from_millis(1)).await }).await?;
///     Ok(())
/// }));
/// assert_eq!(service.start()?.join().code, 0);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of the call, if there is no runtime any more.
///
/// # Cancel safety
///
/// That of the future.
pub fn with_tokio<F: Future>(remote: &Remote<Handle>, future: F) -> WithTokio<F> {
    WithTokio { state: State::Asleep { remote: remote.clone() }, future: Some(unconstrained(future)) }
}

pin_project! {
    /// The future of [`with_tokio`].
    #[must_use = "futures do nothing unless polled"]
    pub struct WithTokio<F> {
        state: State,
        #[pin]
        future: Option<Unconstrained<F>>,
    }

    impl<F> PinnedDrop for WithTokio<F> {
        fn drop(this: Pin<&mut Self>) {
            this.drop_future();
        }
    }
}

#[derive(Debug)]
enum State {
    Asleep { remote: Remote<Handle> },
    Asking { reply: CancelOnDrop<Handle> },
    Entered { handle: Handle },
}

impl<F> WithTokio<F> {
    fn drop_future(self: Pin<&mut Self>) {
        let mut this = self.project();
        let _entered = match this.state {
            State::Entered { handle } => Some(handle.enter()),
            // It was never polled: there is nothing of tokio's in it.
            _ => None,
        };
        this.future.set(None);
    }
}

impl<F: Future> Future for WithTokio<F> {
    type Output = Result<F::Output, CallError>;

    /// Polls the future.
    ///
    /// # Panics
    ///
    /// If it is polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let output = loop {
            let this = self.as_mut().project();
            match this.state {
                State::Asleep { remote } => {
                    *this.state = State::Asking { reply: remote.call(Handle::clone).cancel_on_drop() };
                }
                State::Asking { reply } => match ready!(Pin::new(reply).poll(cx)) {
                    Ok(handle) => *this.state = State::Entered { handle },
                    Err(error) => break Err(error),
                },
                State::Entered { handle } => {
                    let _entered = handle.enter();
                    let future = this.future.as_pin_mut().expect("a future was polled after it was ready");
                    break Ok(ready!(future.poll(cx)));
                }
            }
        };
        self.drop_future();
        Poll::Ready(output)
    }
}

impl<F> fmt::Debug for WithTokio<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithTokio").field("state", &self.state).finish_non_exhaustive()
    }
}
