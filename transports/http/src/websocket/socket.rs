//! A WebSocket, from its handler's side.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::{
    message::{Close, Message},
    queues::{Queues, SendError, WebSocketSender},
};

/// A WebSocket, from its handler's side: [`WebSocketUpgrade::on_upgrade`](crate::WebSocketUpgrade::on_upgrade) makes
/// it.
///
/// The connection's own task speaks the protocol beside the handler: pings are answered and the stop is announced
/// whatever the handler does. The socket is closed when the handler ends. It is usable from any thread.
#[derive(Debug)]
pub struct WebSocket {
    pub(super) queues: Arc<Queues>,
    pub(super) protocol: Option<String>,
}

impl WebSocket {
    /// Waits for the next message; returns None once the connection is closed, lost or being closed. A handler that
    /// takes none for a while slows the peer down.
    ///
    /// # Cancel safety
    ///
    /// No message is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Message> {
        poll_fn(|cx| self.queues.poll_recv(cx)).await
    }

    /// Sends a message: see [`WebSocketSender::send`].
    ///
    /// # Errors
    ///
    /// Returns [`SendError::Closed`] if the socket is closed.
    ///
    /// # Cancel safety
    ///
    /// A future dropped while it waits has sent nothing.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.sender().send(message).await
    }

    /// Returns the sending end, for any thread or loop.
    pub fn sender(&self) -> WebSocketSender {
        WebSocketSender(self.queues.clone())
    }

    /// Returns the agreed subprotocol.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Returns the code and reason that the peer has closed it with, if it has.
    pub fn closed_with(&self) -> Option<Close> {
        self.queues.closed_with()
    }
}

impl Stream for WebSocket {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.queues.poll_recv(cx)
    }
}
