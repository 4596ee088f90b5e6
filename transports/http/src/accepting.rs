//! Accepts a server's connections: each gets a permit, and a temporary failure of the system is waited out.

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

/// The state of a server that listens.
pub(crate) struct Accepting<'a, H: Host> {
    pub(crate) host: &'a H,
    pub(crate) listeners: Vec<H::Listener>,
    pub(crate) permits: Permits,
    /// A descriptor kept in reserve, if there is one.
    pub(crate) spare: Option<Spare>,
    /// Whether the spare descriptor goes to the next connection.
    pub(crate) lent: Cell<bool>,
}

impl<H: Host> Accepting<'_, H> {
    /// Hands out connections until the server is asked to stop. `beside` is polled along with it and never gets ready;
    /// its error ends the server.
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
                    // The spare descriptor was lent in vain, or to a connection that ended when there was no other.
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

    /// Hands out the connections that are already established, then stops listening: later clients are refused. It
    /// returns the permits, which cover the open connections.
    pub(crate) fn close(self, serve: impl Fn(H::Stream, Peer, Permit)) -> Permits {
        for listener in &self.listeners {
            // No more than these can have waited.
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
