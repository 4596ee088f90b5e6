//! The events on a connection that its time limits and the drain need to know.
//!
//! While it handles a request, nothing here touches a timer: each event leaves a mark, a change of the generation, and
//! the connection's one timer checks the marks four times per limit. The clock is read for the request's duration, and
//! when the client makes the server wait.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::Version;
use interloop_listen::{End, FAREWELL, Permit};

use crate::{
    counts::Began, line::Line, peer::Peer, room::Room, settings::Limits, shared::Server, streams::Inbox, trace::Span,
    unread::Unread, upgraded::Upgraded,
};

/// How long a client may be silent while it still sends something that nobody wants.
const SILENCE: Duration = Duration::from_secs(2);

/// What a connection as a whole waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// The end of a request's head.
    Head,
    /// The next request.
    Request,
    /// Something else: handlers, which may take any time, or something with a [`Wait`] of its own.
    Else,
    /// The client's acknowledgement that the connection ends.
    Farewell,
}

/// Adds, wrapping around, and returns the old value. It needs no locked instruction, since only one task counts.
fn add(number: &AtomicU32, n: u32) -> u32 {
    let before = number.load(Relaxed);
    number.store(before.wrapping_add(n), Relaxed);
    before
}

/// The activity of one connection. Only the connection's task changes what it counts, and everything else is a hint for
/// timers. So memory order doesn't matter, and a mark by another thread (a handler that has taken the body there) may
/// get lost.
pub(crate) struct Activity {
    pub(crate) server: Arc<Server>,
    pub(crate) peer: Peer,
    pub(crate) upgraded: Upgraded,
    pub(crate) end: Arc<End>,
    pub(crate) unread: Unread,
    pub(crate) room: Arc<Room>,
    /// On HTTP/1: the connection ends with the current response, whatever the client sends after its request.
    closes: AtomicBool,
    generation: AtomicU32,
    /// Requests whose response has not been handed to the connection in full.
    open: AtomicU32,
    /// Bytes have come since the last request; also true before the first one.
    in_head: AtomicBool,
    /// The lines of the requests that may wait for the client.
    lines: Mutex<Vec<Weak<Line>>>,
    multiplexed: AtomicBool,
    /// The number of requests so far; it may wrap around.
    begun: AtomicU32,
    /// The server stops: the socket is checked once more for a request.
    last_look: AtomicBool,
    found: AtomicBool,
    farewell: AtomicBool,
    /// The connection belongs to a handler, or to nobody any more.
    given_away: AtomicBool,
}

impl Activity {
    /// Creates one. A future in this inbox reads what a handler leaves of a body.
    pub(crate) fn new(server: Arc<Server>, peer: Peer, permit: Permit, inbox: Inbox) -> Arc<Self> {
        Arc::new(Self {
            upgraded: Upgraded::new(permit),
            room: Room::new(server.limits.pace),
            server,
            peer,
            end: Arc::default(),
            unread: Unread::new(inbox),
            closes: AtomicBool::new(false),
            generation: AtomicU32::new(0),
            open: AtomicU32::new(0),
            in_head: AtomicBool::new(true),
            lines: Mutex::default(),
            multiplexed: AtomicBool::new(false),
            begun: AtomicU32::new(0),
            last_look: AtomicBool::new(false),
            found: AtomicBool::new(false),
            farewell: AtomicBool::new(false),
            given_away: AtomicBool::new(false),
        })
    }

    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Relaxed)
    }

    #[inline]
    fn mark(&self) {
        add(&self.generation, 1);
    }

    /// Notes that bytes have been read.
    #[inline]
    pub(crate) fn has_read(&self) {
        // On HTTP/2 these bytes may be anything: only requests count.
        let in_head = self.in_head.load(Relaxed) || self.unread.is_left();
        if self.open.load(Relaxed) == 0 && !in_head && !self.multiplexed.load(Relaxed) {
            self.in_head.store(true, Relaxed);
            self.mark();
        }
    }

    /// Notes that the end was read, on HTTP/2: tasks that wait for more of a body are woken.
    pub(crate) fn has_read_all(&self) {
        self.end.finish();
        if self.room.has_read_all() {
            self.live_lines().iter().for_each(|line| line.wake_reader());
        }
    }

    /// Notes that bytes have been written. If that is before the first request, it is HTTP/2, where the server speaks
    /// first (or HTTP/1 that is refused).
    #[inline]
    pub(crate) fn speaks_first(&self) {
        if self.begun.load(Relaxed) == 0 {
            self.multiplexed.store(true, Relaxed);
        }
    }

    /// Notes that a request's head has come.
    #[inline]
    pub(crate) fn begin(self: &Arc<Self>, version: Version, span: Span) -> Open {
        let before = add(&self.open, 1);
        self.in_head.store(false, Relaxed);
        if add(&self.begun, 1) == 0 {
            self.multiplexed.store(version == Version::HTTP_2, Relaxed);
        }
        #[cfg(feature = "http2")]
        if before + 1 >= self.server.limits.streams && version == Version::HTTP_2 {
            self.server.has_no_streams_left(&self.peer);
        }
        #[cfg(not(feature = "http2"))]
        let _ = before;
        self.mark();
        Open { activity: self.clone(), began: Began::now(), span }
    }

    #[inline]
    pub(crate) fn begun(&self) -> u32 {
        self.begun.load(Relaxed)
    }

    /// Makes each later read that finds nothing check whether that is true.
    pub(crate) fn look_again(&self) {
        self.last_look.store(true, Relaxed);
        self.found.store(false, Relaxed);
    }

    #[inline]
    pub(crate) fn is_last_look(&self) -> bool {
        self.last_look.load(Relaxed)
    }

    /// Notes that the client has sent something that the loop hasn't noticed yet.
    pub(crate) fn found(&self) {
        self.found.store(true, Relaxed);
    }

    pub(crate) fn has_found(&self) -> bool {
        self.found.load(Relaxed)
    }

    /// Returns whether the client may still be sending something that nobody reads: the rest of a body, or bytes that
    /// are no request; on HTTP/2 anything. `heard` says whether it has ever sent something.
    pub(crate) fn may_be_sent_more(&self, heard: bool) -> bool {
        let unread = self.in_head.load(Relaxed) && heard;
        !self.is_given_away() && (self.is_farewell() || self.unread.is_left() || unread || !self.is_sequential())
    }

    /// Notes that the current response is the last one.
    pub(crate) fn set_closes(&self) {
        self.closes.store(true, Relaxed);
    }

    /// Returns whether the client may have sent more than was answered, and doesn't know yet that the connection ends.
    pub(crate) fn closes(&self) -> bool {
        self.closes.load(Relaxed) && !self.is_given_away()
    }

    /// Notes that later bytes in either direction aren't HTTP.
    pub(crate) fn give_away(&self) {
        self.given_away.store(true, Relaxed);
    }

    #[inline]
    pub(crate) fn is_given_away(&self) -> bool {
        self.given_away.load(Relaxed)
    }

    /// Returns whether all requests are answered, and the answers sent as far as can be seen.
    pub(crate) fn is_through(&self) -> bool {
        self.is_between_requests() && !self.room.is_full()
    }

    /// Returns whether the connection handles one request at a time.
    #[inline]
    pub(crate) fn is_sequential(&self) -> bool {
        !self.multiplexed.load(Relaxed)
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Weak<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates the line of a request that may have to wait for the client.
    pub(crate) fn new_line(&self) -> Arc<Line> {
        let line = Line::new(&self.room);
        {
            let mut lines = self.lines();
            if lines.len() == lines.capacity() {
                lines.retain(|line| line.strong_count() > 0);
            }
            lines.push(Arc::downgrade(&line));
        }
        if self.room.is_last() {
            line.hurry(Instant::now());
        }
        line
    }

    /// Returns the lines of the requests that are alive.
    pub(crate) fn live_lines(&self) -> Vec<Arc<Line>> {
        let mut live = Vec::new();
        self.lines().retain(|line| {
            let line = line.upgrade();
            live.extend(line.iter().cloned());
            line.is_some()
        });
        live
    }

    /// Notes that this many bytes were written, or None if the client leaves no room.
    #[inline]
    pub(crate) fn has_written(&self, bytes: Option<usize>) {
        if self.room.has_written(bytes) {
            self.mark();
        }
    }

    /// Shortens all waits, since the server stops.
    pub(crate) fn hurry(&self) {
        let now = Instant::now();
        self.room.hurry(now);
        for line in self.live_lines() {
            line.hurry(now);
        }
    }

    /// Notes that the client may still be sending something that nobody will read; also called each time it does: see
    /// [`Io`](crate::io::Io).
    pub(crate) fn say_farewell(&self) {
        self.farewell.store(true, Relaxed);
        self.mark();
    }

    #[inline]
    pub(crate) fn is_farewell(&self) -> bool {
        self.farewell.load(Relaxed)
    }

    #[inline]
    pub(crate) fn is_between_requests(&self) -> bool {
        self.open.load(Relaxed) == 0
    }

    pub(crate) fn waits(&self) -> Waits {
        if self.open.load(Relaxed) > 0 {
            Waits::Else
        } else if self.is_farewell() {
            Waits::Farewell
        } else if self.room.is_full() || self.room.answers() > 0 {
            Waits::Else
        } else if self.in_head.load(Relaxed) {
            Waits::Head
        } else {
            Waits::Request
        }
    }
}

impl Waits {
    /// Returns the time limit of this wait.
    pub(crate) fn limit(self, limits: &Limits, draining: bool) -> Option<Duration> {
        match self {
            Self::Else => None,
            Self::Farewell => Some(if draining { FAREWELL } else { SILENCE }),
            Self::Head | Self::Request if draining => Some(FAREWELL),
            Self::Head => limits.header,
            Self::Request => limits.idle,
        }
    }
}

/// A request, open as long as this lives.
pub(crate) struct Open {
    activity: Arc<Activity>,
    began: Began,
    pub(crate) span: Span,
}

impl std::ops::Deref for Open {
    type Target = Arc<Activity>;

    fn deref(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Drop for Open {
    #[inline]
    fn drop(&mut self) {
        add(&self.activity.open, u32::MAX);
        self.activity.mark();
        self.began.ended(&self.activity.server.counts);
    }
}
