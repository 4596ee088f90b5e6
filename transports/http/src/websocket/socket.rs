//! A WebSocket, as its handler has it.

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

/// A WebSocket, as its handler has it: made by [`WebSocketUpgrade::on_upgrade`](crate::WebSocketUpgrade::on_upgrade).
///
/// Its protocol is spoken beside the handler, by the connection's own task: pings are answered and the stop is told
/// whatever the handler does. It is closed when the handler ends. May be used from any thread.
#[derive(Debug)]
pub struct WebSocket {
    pub(super) queues: Arc<Queues>,
    pub(super) protocol: Option<String>,
}

impl WebSocket {
    /// Waits for the next message; None once the connection is closed, lost or being closed. A handler that takes none
    /// for a while slows the peer down.
    ///
    /// # Cancel safety
    ///
    /// No message is lost when it is dropped.
    pub async fn next(&mut self) -> Option<Message> {
        poll_fn(|cx| self.queues.poll_recv(cx)).await
    }

    /// Sends a message: see [`WebSocketSender::send`].
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, it has sent nothing.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.sender().send(message).await
    }

    /// The sending end, for any thread or loop.
    pub fn sender(&self) -> WebSocketSender {
        WebSocketSender(self.queues.clone())
    }

    /// The subprotocol that was agreed upon.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// What the peer has closed it with, once it has.
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
