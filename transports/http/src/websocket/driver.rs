//! The protocol side of a socket: one future, which its connection's task polls beside the handler's.

use std::{
    future::Future,
    io::{ErrorKind, Read, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use interloop::task::Requested;
use tungstenite::{
    Error, Utf8Bytes,
    protocol::{
        CloseFrame, Role, WebSocketConfig,
        frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use super::{
    io::Io,
    message::{Close, Message},
    queues::Queues,
};
use crate::{shared::Server, timers::Timer};

/// The limits of one socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) message: usize,
    pub(super) frame: usize,
    pub(super) ping: Option<Duration>,
    pub(super) pong: Duration,
    pub(super) close: Duration,
}

/// How long bytes after the end are thrown away, so that the close frame isn't lost in a reset.
const FAREWELL: Duration = Duration::from_secs(1);
/// After this many frames or pieces of one peer, others get their turn.
const TURN: usize = 64;
/// The longest reason that fits into a close frame.
const LONGEST_REASON: usize = 123;

enum Phase {
    Open,
    /// Nothing more is read: the messages that the handler has sent, and still sends in answer to earlier ones, go out.
    Leaving,
    /// The server's close frame is sent, and the peer's is waited for.
    Closing,
    Farewell,
    Ended,
}

/// How the socket is left.
#[derive(Default)]
struct Leave {
    /// The server's close frame; None if it answers the peer's.
    with: Option<Close>,
    /// Whether the handler may go on sending until it ends.
    for_handler: bool,
    /// Whether incoming bytes can't be read as frames any more.
    is_broken: bool,
}

pub(super) struct Driver {
    socket: tungstenite::WebSocket<Io>,
    queues: Arc<Queues>,
    server: Arc<Server>,
    requested: Requested,
    limits: Limits,
    phase: Phase,
    leave: Leave,
    /// What goes out after the peer's close frame, or its end. tungstenite sends no more messages then, though RFC 6455
    /// (5.5.1) has them sent until the server's close frame.
    behind: Vec<u8>,
    /// The peer takes nothing at the moment: then nothing is read either, since answers to pings would pile up.
    blocked: bool,
    pinged: bool,
    /// How much was read and written when the timer was set.
    seen: (u64, u64),
    timer: Timer,
}

impl Driver {
    pub(super) fn new(io: Io, queues: Arc<Queues>, server: Arc<Server>, limits: Limits) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(8 << 10)
            .write_buffer_size(0)
            .max_message_size(Some(limits.message))
            .max_frame_size(Some(limits.frame));
        let mut timer = Timer::new(&server.timers);
        limits.ping.into_iter().for_each(|time| timer.set(time));
        server.counts.sockets.open.add(1.0);
        Self {
            socket: tungstenite::WebSocket::from_raw_socket(io, Role::Server, Some(config)),
            queues,
            requested: server.shutdown.requested(),
            server,
            limits,
            phase: Phase::Open,
            leave: Leave::default(),
            behind: Vec::new(),
            blocked: false,
            pinged: false,
            seen: (0, 0),
            timer,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.socket.get_ref().waker.will_wake(cx.waker()) {
            self.socket.get_mut().waker = cx.waker().clone();
        }
        self.queues.drives(cx);
        loop {
            let before = std::mem::discriminant(&self.phase);
            match self.phase {
                Phase::Open => self.poll_open(cx),
                Phase::Leaving => self.poll_leaving(cx),
                Phase::Closing => self.poll_closing(cx),
                Phase::Farewell => self.poll_farewell(cx),
                Phase::Ended => return Poll::Ready(()),
            }
            if before == std::mem::discriminant(&self.phase) {
                return Poll::Pending;
            }
        }
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) {
        if Pin::new(&mut self.requested).poll(cx).is_ready() {
            self.queues.stop();
            let close = Close { code: 1001, reason: "the server stops".to_owned() };
            return self.leave(Leave { with: Some(close), ..Leave::default() });
        }
        self.send_out();
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        if self.blocked {
            return self.poll_timer(cx);
        }
        if !self.blocked
            && let Some(close) = self.queues.wished()
        {
            return self.close(&close);
        }
        let mut frames = 0;
        while matches!(self.phase, Phase::Open) && !self.blocked && self.queues.has_room() {
            if is_over(&mut frames, cx) {
                break;
            }
            match self.socket.read() {
                Ok(message) => self.came(message),
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => self.broke(&error),
            }
            if matches!(self.phase, Phase::Open) {
                self.flush();
            }
        }
        if matches!(self.phase, Phase::Open) {
            self.poll_timer(cx);
        }
    }

    fn came(&mut self, message: tungstenite::Message) {
        let message = match message {
            tungstenite::Message::Text(text) => Message::Text(text.as_str().to_owned()),
            tungstenite::Message::Binary(bytes) => Message::Binary(bytes),
            tungstenite::Message::Close(frame) => {
                let close =
                    frame.map(|frame| Close { code: frame.code.into(), reason: frame.reason.as_str().to_owned() });
                // A close frame without a code gets the one for that.
                self.queues.end_incoming(Some(close.unwrap_or(Close { code: 1005, reason: String::new() })));
                return self.leave(Leave { for_handler: true, ..Leave::default() });
            }
            _ => return,
        };
        self.server.counts.sockets.received.add(1);
        self.queues.came(message);
    }

    /// Handles a peer that broke the protocol, or is gone.
    fn broke(&mut self, error: &Error) {
        let (code, reason) = match error {
            Error::Capacity(_) => (1009, "the message is too long"),
            Error::Utf8(_) => (1007, "the text is not UTF-8"),
            // The peer has finished without a close frame, and may still read. What the handler still sends goes out as
            // after one.
            Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                self.queues.end_incoming(None);
                return self.leave(Leave { for_handler: true, ..Leave::default() });
            }
            Error::Protocol(_) => (1002, "this is not the protocol"),
            _ => return self.lose(),
        };
        log::debug!(target: &self.server.target, "a WebSocket broke: {error}");
        self.queues.end_incoming(None);
        self.leave(Leave { with: Some(Close { code, reason: reason.to_owned() }), for_handler: true, is_broken: true });
    }

    fn lose(&mut self) {
        self.queues.end();
        self.phase = Phase::Ended;
    }

    fn leave(&mut self, leave: Leave) {
        self.leave = leave;
        self.enter(Phase::Leaving, self.close_limit());
    }

    fn poll_leaving(&mut self, cx: &Context<'_>) {
        self.send_out();
        if !matches!(self.phase, Phase::Leaving) {
            return;
        }
        let handled = !self.leave.for_handler || self.queues.wished().is_some();
        let is_late = self.timer.poll(cx).is_ready();
        if !is_late && (self.blocked || !handled) {
            return;
        }
        match self.leave.with.take() {
            Some(close) => {
                self.close(&close);
                if self.leave.is_broken && matches!(self.phase, Phase::Closing) {
                    self.enter(Phase::Farewell, FAREWELL);
                }
            }
            // In the middle of a frame nothing else can be sent.
            None if !self.behind.is_empty() => self.lose(),
            None => {
                self.queues.end();
                self.enter(Phase::Closing, self.close_limit());
            }
        }
    }

    /// Sends what the handler has put into the queue, as far as the peer takes it.
    fn send_out(&mut self) {
        if self.blocked {
            let flushed = if self.is_answer() { self.write_behind() } else { self.socket.flush() };
            self.sees(flushed);
        }
        while !self.blocked && !matches!(self.phase, Phase::Ended) {
            let Some(message) = self.queues.next() else { break };
            self.server.counts.sockets.sent.add(1);
            let written = self.write(message);
            self.sees(written);
        }
    }

    /// Returns whether the peer has closed the socket, so that the server's close frame answers it, or has ended the
    /// connection.
    fn is_answer(&self) -> bool {
        matches!(self.phase, Phase::Leaving) && self.leave.with.is_none()
    }

    fn write(&mut self, message: Message) -> Result<(), Error> {
        if !self.is_answer() {
            let message = match message {
                Message::Text(text) => tungstenite::Message::text(text),
                Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
            };
            return self.socket.write(message).and_then(|()| self.socket.flush());
        }
        let (kind, payload) = match message {
            Message::Text(text) => (Data::Text, text.into()),
            Message::Binary(bytes) => (Data::Binary, bytes),
        };
        Frame::message(payload, OpCode::Data(kind), true).format(&mut self.behind)?;
        self.write_behind()
    }

    fn write_behind(&mut self) -> Result<(), Error> {
        while !self.behind.is_empty() {
            let written = self.socket.get_mut().write(&self.behind)?;
            if written == 0 {
                return Err(Error::Io(ErrorKind::WriteZero.into()));
            }
            self.behind.drain(..written);
        }
        Ok(self.socket.get_mut().flush()?)
    }

    fn close(&mut self, close: &Close) {
        let mut end = close.reason.len().min(LONGEST_REASON);
        while !close.reason.is_char_boundary(end) {
            end -= 1;
        }
        let reason = Utf8Bytes::from(&close.reason[..end]);
        let closed = self.socket.close(Some(CloseFrame { code: close.code.into(), reason }));
        self.queues.end();
        self.phase = Phase::Closing;
        if self.sees(closed) || self.blocked {
            self.enter(Phase::Closing, self.close_limit());
        }
    }

    fn close_limit(&self) -> Duration {
        self.server.within_the_stop(self.limits.close)
    }

    fn enter(&mut self, phase: Phase, limit: Duration) {
        self.phase = phase;
        self.timer.set(limit);
    }

    fn poll_closing(&mut self, cx: &mut Context<'_>) {
        self.flush();
        let mut frames = 0;
        while matches!(self.phase, Phase::Closing) {
            if is_over(&mut frames, cx) {
                break;
            }
            match self.socket.read() {
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => break,
                Err(Error::ConnectionClosed | Error::Protocol(_) | Error::Capacity(_) | Error::Utf8(_)) => {
                    return self.enter(Phase::Farewell, FAREWELL.min(self.close_limit()));
                }
                Err(_) => self.phase = Phase::Ended,
            }
        }
        if self.timer.poll(cx).is_ready() {
            self.phase = Phase::Ended;
        }
    }

    fn poll_farewell(&mut self, cx: &mut Context<'_>) {
        let would_block = |error: &std::io::Error| error.kind() == ErrorKind::WouldBlock;
        match self.socket.flush() {
            Err(Error::Io(error)) if would_block(&error) => {}
            // Closed already: all is sent.
            _ => match self.socket.get_mut().shut_down() {
                Ok(()) => {
                    let mut scratch = [0; 4096];
                    let mut pieces = 0;
                    loop {
                        if is_over(&mut pieces, cx) {
                            break;
                        }
                        match self.socket.get_mut().read(&mut scratch) {
                            Ok(1..) => {}
                            Err(error) if would_block(&error) => break,
                            _ => {
                                self.phase = Phase::Ended;
                                return;
                            }
                        }
                    }
                }
                Err(error) if would_block(&error) => {}
                Err(_) => {
                    self.phase = Phase::Ended;
                    return;
                }
            },
        }
        if self.timer.poll(cx).is_ready() {
            self.phase = Phase::Ended;
        }
    }

    /// Returns whether all is sent.
    fn flush(&mut self) -> bool {
        let flushed = self.socket.flush();
        self.sees(flushed)
    }

    fn sees(&mut self, written: Result<(), Error>) -> bool {
        self.blocked = false;
        match written {
            Ok(()) => return true,
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
            // The answer to the peer's close was sent.
            Err(Error::ConnectionClosed) => self.enter(Phase::Farewell, FAREWELL),
            Err(_) => self.lose(),
        }
        false
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        let Some(interval) = self.limits.ping else { return };
        while matches!(self.phase, Phase::Open) && self.timer.poll(cx).is_ready() {
            let now = (self.socket.get_ref().read, self.socket.get_ref().written);
            let (has_read, has_written) = (now.0 != self.seen.0, now.1 != self.seen.1);
            let mut next = interval;
            if self.blocked {
                if !has_written {
                    self.server.counts.sockets.lost.add(1);
                    return self.lose();
                }
            } else if has_read || !self.queues.has_room() {
                self.pinged = false;
            } else if self.pinged {
                self.server.counts.sockets.lost.add(1);
                return self.lose();
            } else {
                self.pinged = true;
                next = self.limits.pong;
                let written = self.socket.write(tungstenite::Message::Ping(bytes::Bytes::new()));
                let written = written.and_then(|()| self.socket.flush());
                self.sees(written);
            }
            self.seen = (self.socket.get_ref().read, self.socket.get_ref().written);
            self.timer.set(next);
        }
    }
}

/// Returns whether one peer's turn is over; the next one comes as soon as others have had theirs.
fn is_over(turn: &mut usize, cx: &Context<'_>) -> bool {
    let over = *turn == TURN;
    if over {
        cx.waker().wake_by_ref();
    }
    *turn += 1;
    over
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.server.counts.sockets.open.sub(1.0);
        self.queues.end();
    }
}
