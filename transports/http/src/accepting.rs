//! How a server's connections come in: each has a permit, and a bad moment of the system's is waited out.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::{Context as Poller, Poll},
};

use interloop_listen::{Permit, Permits, QUEUED, Rests, Spare, is_of_one_client, poll_in_turn};

use crate::{
    net::{Host, Listener},
    peer::Peer,
};

/// A server that listens.
pub(crate) struct Accepting<'a, H: Host> {
    pub(crate) host: &'a H,
    pub(crate) listeners: Vec<H::Listener>,
    pub(crate) permits: Permits,
    /// A descriptor that is kept back, if one is.
    pub(crate) spare: Option<Spare>,
    /// It goes to the connection that comes next.
    pub(crate) lent: Cell<bool>,
}

impl<H: Host> Accepting<'_, H> {
    /// Hands out what comes, until the server is asked to stop. `beside` is polled along with it, and never ready; an
    /// error of its is the server's.
    pub(crate) async fn until_the_stop(
        &mut self,
        mut beside: impl FnMut(&mut Poller<'_>) -> io::Result<()>,
        serve: impl Fn(H::Stream, Peer, Permit),
    ) -> io::Result<()> {
        let cx = self.host.cx();
        let mut stop = pin!(cx.until_shutdown());
        let mut rests = Rests::default();
        loop {
            let next = poll_fn(|poller| {
                beside(poller)?;
                if stop.as_mut().poll(poller).is_ready() {
                    return Poll::Ready(Ok(None));
                }
                if self.permits.poll_free(poller).is_pending() {
                    return Poll::Pending;
                }
                poll_in_turn(&mut self.listeners, |listener| listener.poll_accept(poller))
                    .map(|accepted| Ok::<_, io::Error>(Some(accepted)))
            });
            match next.await? {
                None => return Ok(()),
                Some(Ok((stream, peer))) => serve(stream, peer, self.permit()),
                Some(Err(error)) if self.spare.as_ref().is_some_and(|spare| spare.lend(&error)) => {
                    self.lent.set(true);
                }
                Some(Err(error)) => {
                    // The spare one was lent in vain, or to a connection that has ended when there was none.
                    self.lent.set(false);
                    self.spare.iter().for_each(Spare::restore);
                    let Some(rest) = rests.after(&error, cx.target()) else { continue };
                    let mut sleep = pin!(self.host.sleep(rest));
                    let slept = poll_fn(|poller| {
                        beside(poller)?;
                        match stop.as_mut().poll(poller) {
                            Poll::Ready(()) => Poll::Ready(Ok::<_, io::Error>(())),
                            Poll::Pending => sleep.as_mut().poll(poller).map(Ok),
                        }
                    });
                    slept.await?;
                }
            }
        }
    }

    /// Hands out who has connected already, and stops listening: who comes from now on is refused. What remains are the
    /// permits.
    pub(crate) fn close(self, serve: impl Fn(H::Stream, Peer, Permit)) -> Permits {
        for listener in &self.listeners {
            // More than these can't have waited.
            for _ in 0..QUEUED {
                if !self.permits.are_free() {
                    break;
                }
                match listener.accept_now() {
                    Ok((stream, peer)) => serve(stream, peer, self.permit()),
                    Err(error) if is_of_one_client(&error) => {}
                    Err(_) => break,
                }
            }
        }
        self.permits
    }

    fn permit(&self) -> Permit {
        self.permits.take().with(self.spare.clone().filter(|_| self.lent.take()))
    }
}
