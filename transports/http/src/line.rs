//! What one request needs its client for: to send the rest of its body, and to take its answer.
//!
//! hyper doesn't say when a stream of HTTP/2 waits for its window, but it can be determined: the answer goes in pieces,
//! each of which counts how much of it has reached the socket. If its client is too slow, a line is cut: its handler,
//! its body and its answer end with it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use interloop_listen::{FAREWELL, LAST_ROOM, Wait};

use crate::room::Room;

/// An HTTP/2 answer is handed over in pieces of at most this length: the rest is freed with its stream.
pub(crate) const PIECE: usize = 16 << 10;
/// How soon a handler that wants more of a body says so when it is asked.
const SAYS_SO: Duration = Duration::from_secs(1);

/// The waits of one request. The connection has all lines, and checks them now and then.
pub(crate) struct Line {
    room: Arc<Room>,
    state: Mutex<State>,
    cut: AtomicBool,
    /// The stream's future is gone.
    ended: AtomicBool,
    /// The waker of the stream's future, which ends when it is cut.
    stream: AtomicWaker,
}

struct State {
    body: Wait,
    /// The body may rightly be silent: between two messages of a stream.
    may_be_silent: bool,
    reader: Option<Waker>,
    /// When the reader of an overdue body was asked whether it still wants more.
    asked: Option<Instant>,
    /// Whether it does.
    wanted: bool,
    answer: Wait,
    /// Bytes of the answer that hyper has and the client hasn't taken.
    given: usize,
    /// Whether the connection counts this answer: it counts all that are handed over, except those that were cut.
    counted: bool,
}

/// The result of checking a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing is waited for, or only for this time.
    Rest(Option<Duration>),
    TooLate,
    /// It was cut, and pieces of it are still there: only the end of the connection frees them.
    Stuck,
}

impl Line {
    pub(crate) fn new(room: &Arc<Room>) -> Arc<Self> {
        let pace = room.pace();
        let state = State {
            body: Wait::new(pace),
            may_be_silent: false,
            reader: None,
            asked: None,
            wanted: false,
            answer: Wait::new(pace),
            given: 0,
            counted: false,
        };
        Arc::new(Self {
            room: room.clone(),
            state: Mutex::new(state),
            cut: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            stream: AtomicWaker::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Notes that the stream's future is gone: hyper holds no more of the answer than it must.
    pub(crate) fn has_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Registers the task that polls the stream's future.
    pub(crate) fn is_polled(&self, cx: &Context<'_>) {
        self.stream.register(cx.waker());
    }

    /// Notes that the handler wants more of the body than there is. With `may_be_silent` it may be long in coming.
    pub(crate) fn wants_body(&self, may_be_silent: bool, cx: &Context<'_>) {
        let now = Instant::now();
        let mut state = self.lock();
        let mut begins = !state.body.is_on();
        state.may_be_silent = may_be_silent;
        state.body.begin(now);
        match &mut state.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            reader => *reader = Some(cx.waker().clone()),
        }
        match state.asked.take() {
            Some(asked) if now.saturating_duration_since(asked) < SAYS_SO => state.wanted = true,
            // It was busy with something else all the time.
            Some(_) => {
                state.body.forgive(now);
                begins = true;
            }
            None => {}
        }
        let wanted = state.wanted;
        drop(state);
        if wanted {
            self.room.look_now();
        } else if begins {
            self.room.wait_begins();
        }
    }

    /// Returns whether the body ends here, even if it is incomplete, since the client has ended the connection. Must be
    /// called after [`wants_body`](Self::wants_body).
    pub(crate) fn is_cut_off(&self) -> bool {
        self.room.is_all_read()
    }

    /// Makes the reader check again.
    pub(crate) fn wake_reader(&self) {
        let reader = self.lock().reader.take();
        reader.into_iter().for_each(Waker::wake);
    }

    /// Notes that this many bytes of the body have come, or its end.
    pub(crate) fn has_body(&self, bytes: usize) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.may_be_silent {
            state.body.forgive(now);
        }
        state.body.moved(bytes as u64, now);
        state.body.end(now);
        (state.asked, state.wanted) = (None, false);
    }

    /// Notes that this many bytes of the answer were handed over.
    fn gives(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut state = self.lock();
        state.given += bytes;
        if !state.counted && !self.is_cut() {
            state.counted = true;
            state.answer.begin(self.room.time_with_room());
            drop(state);
            self.room.answer_begins();
        }
    }

    /// Notes that the client has taken this many of the bytes handed over, or is gone.
    fn took(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let now = self.room.time_with_room();
        // Many streams may share the connection's window.
        let share = self.room.answers().max(1) as u64;
        let mut state = self.lock();
        state.given = state.given.saturating_sub(bytes);
        state.answer.moved(bytes as u64 * share, now);
        if state.given == 0 && std::mem::take(&mut state.counted) {
            state.answer.end(now);
            drop(state);
            self.room.answer_ends();
        }
    }

    /// Checks what the line waits for. With `is_over` nothing is waited for any more.
    pub(crate) fn look(&self, now: Instant, is_over: bool) -> Found {
        let mut state = self.lock();
        if self.is_cut() {
            return match state.given {
                0 => Found::Rest(None),
                _ if self.ended.load(Ordering::Acquire) => Found::Stuck,
                // Among many busy streams it may not have had its turn.
                _ => Found::Rest(Some(Duration::ZERO)),
            };
        }
        if is_over && (state.given > 0 || state.body.is_on()) {
            return Found::TooLate;
        }
        let answer = state.answer.rest(self.room.time_with_room());
        if state.wanted || answer.is_some_and(|rest| rest.is_zero()) {
            return Found::TooLate;
        }
        let silent = state.may_be_silent && !self.room.is_last();
        let body = state.body.rest(now).filter(|_| !silent && state.asked.is_none());
        if body.is_some_and(|rest| rest.is_zero()) {
            state.asked = Some(now);
            let reader = state.reader.take();
            drop(state);
            reader.into_iter().for_each(Waker::wake);
            return Found::Rest(answer);
        }
        Found::Rest(answer.into_iter().chain(body).min())
    }

    /// Shortens all waits, since the server stops.
    pub(crate) fn hurry(&self, now: Instant) {
        let with_room = self.room.time_with_room();
        let mut state = self.lock();
        let grace = if state.may_be_silent { LAST_ROOM } else { FAREWELL };
        if state.may_be_silent {
            state.body.forgive(now);
        }
        state.body.hurry(grace, now);
        state.answer.hurry(LAST_ROOM, with_room);
    }

    /// Ends the handler, the body and the answer.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        let (counted, reader) = {
            let mut state = self.lock();
            state.wanted = false;
            (std::mem::take(&mut state.counted), state.reader.take())
        };
        if counted {
            self.room.answer_ends();
        }
        self.stream.wake();
        reader.into_iter().for_each(Waker::wake);
    }
}

/// A piece of an answer.
pub(crate) struct Piece {
    bytes: Bytes,
    /// None on HTTP/1, where the socket tells everything.
    line: Option<Arc<Line>>,
}

impl Piece {
    #[inline]
    pub(crate) fn new(bytes: Bytes, line: Option<&Arc<Line>>) -> Self {
        if let Some(line) = line {
            line.gives(bytes.len());
        }
        Self { bytes, line: line.cloned() }
    }
}

impl Buf for Piece {
    #[inline]
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    fn advance(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
        if let Some(line) = &self.line {
            line.took(bytes);
        }
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        let bytes = self.bytes.copy_to_bytes(length);
        if let Some(line) = &self.line {
            line.took(length);
        }
        bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.took(self.bytes.len());
        }
    }
}
