//! The shared state of the protocol and its handler: two queues, and the request to close.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tungstenite::protocol::frame::coding::CloseCode;

use super::message::{Close, Message};

/// How many messages wait for the handler; further ones wait at the peer.
const INCOMING: usize = 4;

#[derive(Debug)]
pub(super) struct Queues {
    state: Mutex<State>,
    room: usize,
}

#[derive(Debug, Default)]
struct State {
    incoming: VecDeque<Message>,
    outgoing: VecDeque<Message>,
    /// Nothing more can be sent.
    closed: bool,
    /// Nothing more will come.
    ended: bool,
    wish: Option<Close>,
    theirs: Option<Close>,
    reader: Option<Waker>,
    writers: Vec<Waker>,
    driver: Option<Waker>,
}

impl Queues {
    pub(super) fn new(room: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), room })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let (message, driver) = {
            let mut state = self.lock();
            match state.incoming.pop_front() {
                Some(message) => (message, state.driver.clone()),
                None if state.ended => return Poll::Ready(None),
                None => {
                    state.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        };
        driver.into_iter().for_each(Waker::wake);
        Poll::Ready(Some(message))
    }

    fn push(&self, message: &mut Option<Message>, cx: Option<&Context<'_>>) -> Result<bool, SendError> {
        let driver = {
            let mut state = self.lock();
            if state.closed || state.wish.is_some() {
                return Err(SendError::Closed);
            }
            if state.outgoing.len() >= self.room {
                if let Some(waker) = cx.map(Context::waker)
                    && !state.writers.iter().any(|known| known.will_wake(waker))
                {
                    state.writers.push(waker.clone());
                }
                return Ok(false);
            }
            state.outgoing.extend(message.take());
            state.driver.clone()
        };
        driver.into_iter().for_each(Waker::wake);
        Ok(true)
    }

    /// Requests to close; the first request wins.
    pub(super) fn wish(&self, close: Close) {
        let driver = {
            let mut state = self.lock();
            state.wish.get_or_insert(close);
            state.driver.clone()
        };
        driver.into_iter().for_each(Waker::wake);
    }

    pub(super) fn closed_with(&self) -> Option<Close> {
        self.lock().theirs.clone()
    }

    // The methods that follow are for the driver.

    pub(super) fn drives(&self, cx: &Context<'_>) {
        self.lock().driver = Some(cx.waker().clone());
    }

    pub(super) fn has_room(&self) -> bool {
        self.lock().incoming.len() < INCOMING
    }

    pub(super) fn came(&self, message: Message) {
        let reader = {
            let mut state = self.lock();
            state.incoming.push_back(message);
            state.reader.take()
        };
        reader.into_iter().for_each(Waker::wake);
    }

    pub(super) fn next(&self) -> Option<Message> {
        let (message, writers) = {
            let mut state = self.lock();
            (state.outgoing.pop_front(), std::mem::take(&mut state.writers))
        };
        writers.into_iter().for_each(Waker::wake);
        message
    }

    pub(super) fn wished(&self) -> Option<Close> {
        self.lock().wish.clone()
    }

    /// Notes that nothing more will come. Messages of the handler are accepted as before.
    pub(super) fn end_incoming(&self, theirs: Option<Close>) {
        self.finish(|state| state.theirs = theirs);
    }

    /// Notes that nothing more will come, and nothing more is accepted. Messages sent before still go out.
    pub(super) fn stop(&self) {
        self.finish(|state| state.closed = true);
    }

    /// Ends both queues.
    pub(super) fn end(&self) {
        self.finish(|state| {
            state.closed = true;
            state.outgoing.clear();
        });
    }

    fn finish(&self, change: impl FnOnce(&mut State)) {
        let (reader, writers) = {
            let mut state = self.lock();
            state.ended = true;
            change(&mut state);
            let writers = if state.closed { std::mem::take(&mut state.writers) } else { Vec::new() };
            (state.reader.take(), writers)
        };
        reader.into_iter().chain(writers).for_each(Waker::wake);
    }
}

/// The sending end of a [`WebSocket`](crate::WebSocket), for any thread or loop. Clones send over the same socket.
#[derive(Clone, Debug)]
pub struct WebSocketSender(pub(super) Arc<Queues>);

impl WebSocketSender {
    /// Puts a message into the socket's queue, and waits for space there. A peer that takes nothing makes it wait until
    /// the peer is dropped for that.
    ///
    /// # Errors
    ///
    /// Returns [`SendError::Closed`] if the socket is closed.
    ///
    /// # Cancel safety
    ///
    /// A future dropped while it waits has sent nothing.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let mut message = Some(message.into());
        poll_fn(|cx| match self.0.push(&mut message, Some(cx)) {
            Ok(false) => Poll::Pending,
            Ok(true) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        })
        .await
    }

    /// Puts a message into the socket's queue. It never blocks.
    ///
    /// # Errors
    ///
    /// Returns [`SendError::Full`] if there is no space, and [`SendError::Closed`] if the socket is closed.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        if self.0.push(&mut Some(message.into()), None)? { Ok(()) } else { Err(SendError::Full) }
    }

    /// Closes the socket with this code and reason, after the messages that were sent before. The first close counts. A
    /// reason is cut to 123 bytes, the maximum.
    ///
    /// # Errors
    ///
    /// Returns an error if the code may not be sent: valid codes are 1000 to 1003 and 1007 to 1013 (RFC 6455, 7.4.1,
    /// and IANA's register), and 3000 to 4999. The socket stays open.
    pub fn close(&self, code: u16, reason: impl Into<String>) -> Result<(), InvalidCloseCode> {
        if !CloseCode::from(code).is_allowed() {
            return Err(InvalidCloseCode(code));
        }
        self.0.wish(Close { code, reason: reason.into() });
        Ok(())
    }
}

/// A code that no close frame may carry: see [`WebSocketSender::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCloseCode(u16);

impl InvalidCloseCode {
    /// Returns the code.
    pub fn code(self) -> u16 {
        self.0
    }
}

impl fmt::Display for InvalidCloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a WebSocket can't be closed with the code {}", self.0)
    }
}

impl std::error::Error for InvalidCloseCode {}

/// Why a message can't be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The socket is closed, or being closed.
    Closed,
    /// The queue holds its maximum number of messages.
    Full,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the WebSocket is closed",
            Self::Full => "the queue of the WebSocket is full",
        })
    }
}

impl std::error::Error for SendError {}
