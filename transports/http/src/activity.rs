//! What happens on a connection, as far as its time limits and the drain need to know.
//!
//! On the way of a request nothing here touches a timer, nor asks for the time but for the request's duration: what happens leaves a mark, a change of the
//! generation, and the connection's one timer looks at the marks four times a limit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Version;
use interloop_listen::{End, Seat};

use crate::{
    counts::Began, hosted::Peer, rest::Rest, server::Server, settings::Limits, streams::Inbox, trace::Span,
    upgraded::Upgraded,
};

/// How long a connection that ends anyway may take for its farewell.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);
/// How long a client that is still sending what nobody wants may be silent.
const SILENCE: Duration = Duration::from_secs(2);
/// How long a client may leave no room for its last response: the system says that there is some only when a third of what it keeps has been taken.
const LAST_ROOM: Duration = Duration::from_secs(5);

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// For the end of a request's head.
    Head,
    /// For the next request.
    Request,
    /// For more of a request's body.
    Body,
    /// For the handlers: that may take any time.
    Response,
    /// For the client to take more of what it is sent.
    Room,
    /// For the client to take note that this is the end.
    Farewell,
}

/// Adds, and says what was there: without a locked instruction, since it is one task that counts. Wraps around.
fn add(number: &AtomicU32, n: u32) -> u32 {
    let before = number.load(Relaxed);
    number.store(before.wrapping_add(n), Relaxed);
    before
}

/// One connection's. What it counts is changed by the task of the connection alone, and all else are hints for timers: the order of memory doesn't
/// matter, and a mark that another thread makes (a handler that has taken the body there) may get lost.
pub(crate) struct Activity {
    pub(crate) server: Arc<Server>,
    pub(crate) peer: Peer,
    pub(crate) upgraded: Upgraded,
    pub(crate) end: Arc<End>,
    pub(crate) rest: Rest,
    generation: AtomicU32,
    /// Requests whose response has not been handed to the connection in full.
    open: AtomicU32,
    /// Bytes have come since the last request; also before the first one.
    in_head: AtomicBool,
    in_body: AtomicBool,
    /// What is sent finds no room.
    is_full: AtomicBool,
    multiplexed: AtomicBool,
    /// Requests so far, all the same if it wraps around.
    begun: AtomicU32,
    /// The server stops: what is there is looked for once more.
    last_look: AtomicBool,
    found: AtomicBool,
    farewell: AtomicBool,
    /// It belongs to a handler, or to nobody any more.
    given_away: AtomicBool,
}

impl Activity {
    /// What a handler leaves of a body is read by a future in this inbox.
    pub(crate) fn new(server: Arc<Server>, peer: Peer, seat: Seat, inbox: Inbox) -> Arc<Self> {
        Arc::new(Self {
            upgraded: Upgraded::new(seat),
            server,
            peer,
            end: Arc::default(),
            rest: Rest::new(inbox),
            generation: AtomicU32::new(0),
            open: AtomicU32::new(0),
            in_head: AtomicBool::new(true),
            in_body: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            multiplexed: AtomicBool::new(false),
            begun: AtomicU32::new(0),
            last_look: AtomicBool::new(false),
            found: AtomicBool::new(false),
            farewell: AtomicBool::new(false),
            given_away: AtomicBool::new(false),
        })
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Relaxed)
    }

    fn mark(&self) {
        add(&self.generation, 1);
    }

    /// Bytes have been read.
    pub(crate) fn has_read(&self) {
        // On HTTP/2 these may be anything: only requests count.
        let in_head = self.in_head.load(Relaxed) || self.rest.is_left();
        if self.open.load(Relaxed) == 0 && !in_head && !self.multiplexed.load(Relaxed) {
            self.in_head.store(true, Relaxed);
            self.mark();
        }
    }

    /// Bytes have been written. Before the first request that is HTTP/2, whose server speaks first (or an HTTP/1 that is refused).
    pub(crate) fn has_written(&self) {
        if self.begun.load(Relaxed) == 0 {
            self.multiplexed.store(true, Relaxed);
        }
    }

    /// A request's head is there.
    pub(crate) fn begin(self: &Arc<Self>, version: Version, span: Span) -> Open {
        add(&self.open, 1);
        self.in_head.store(false, Relaxed);
        if add(&self.begun, 1) == 0 {
            self.multiplexed.store(version == Version::HTTP_2, Relaxed);
        }
        self.mark();
        Open { activity: self.clone(), began: Began::now(), span }
    }

    pub(crate) fn begun(&self) -> u32 {
        self.begun.load(Relaxed)
    }

    /// From now on each read that finds nothing looks whether that is true.
    pub(crate) fn look_again(&self) {
        self.last_look.store(true, Relaxed);
        self.found.store(false, Relaxed);
    }

    pub(crate) fn is_last_look(&self) -> bool {
        self.last_look.load(Relaxed)
    }

    /// The client has sent something that the loop hasn't noticed yet.
    pub(crate) fn found(&self) {
        self.found.store(true, Relaxed);
    }

    pub(crate) fn has_found(&self) -> bool {
        self.found.load(Relaxed)
    }

    /// Whether the client may still be sending what nobody reads: the rest of a body, or what was no request; on HTTP/2 anything. `heard` is whether it has
    /// ever sent something.
    pub(crate) fn may_be_sent_more(&self, heard: bool) -> bool {
        let unread = self.in_head.load(Relaxed) && heard;
        !self.is_given_away() && (self.is_farewell() || self.rest.is_left() || unread || !self.is_sequential())
    }

    /// What comes and goes from now on is no HTTP.
    pub(crate) fn give_away(&self) {
        self.given_away.store(true, Relaxed);
    }

    pub(crate) fn is_given_away(&self) -> bool {
        self.given_away.load(Relaxed)
    }

    /// Whether all that was asked is answered, and has been sent as far as can be seen.
    pub(crate) fn is_through(&self) -> bool {
        self.is_between_requests() && !self.is_full.load(Relaxed)
    }

    /// Whether the connection is one request at a time.
    pub(crate) fn is_sequential(&self) -> bool {
        !self.multiplexed.load(Relaxed)
    }

    /// A handler has begun, or ended, to wait for more of a body.
    pub(crate) fn waits_for_body(&self, waits: bool) {
        if self.in_body.load(Relaxed) != waits {
            self.in_body.store(waits, Relaxed);
            self.mark();
        }
    }

    /// The client has begun, or ended, to leave no room for what it is sent.
    pub(crate) fn waits_for_room(&self, waits: bool) {
        if self.is_full.load(Relaxed) != waits {
            self.is_full.store(waits, Relaxed);
            self.mark();
        }
    }

    /// The client may still be sending what nobody will read; also for each time that it has: see [`net::Io`](crate::net::Io).
    pub(crate) fn say_farewell(&self) {
        self.farewell.store(true, Relaxed);
        self.mark();
    }

    pub(crate) fn is_farewell(&self) -> bool {
        self.farewell.load(Relaxed)
    }

    pub(crate) fn is_between_requests(&self) -> bool {
        self.open.load(Relaxed) == 0
    }

    pub(crate) fn waits(&self) -> Waits {
        let is_full = self.is_full.load(Relaxed);
        if self.open.load(Relaxed) > 0 {
            return match self.in_body.load(Relaxed) {
                _ if is_full => Waits::Room,
                true => Waits::Body,
                false => Waits::Response,
            };
        }
        if self.is_farewell() {
            Waits::Farewell
        } else if is_full {
            Waits::Room
        } else if self.in_head.load(Relaxed) {
            Waits::Head
        } else {
            Waits::Request
        }
    }
}

impl Waits {
    /// How long this may take.
    pub(crate) fn limit(self, limits: &Limits, draining: bool) -> Option<Duration> {
        match self {
            Self::Response => None,
            Self::Farewell => Some(if draining { FAREWELL } else { SILENCE }),
            Self::Body => limits.idle,
            Self::Head | Self::Request if draining => Some(FAREWELL),
            Self::Room if draining => Some(limits.idle.map_or(LAST_ROOM, |idle| idle.min(LAST_ROOM))),
            Self::Head => limits.header,
            Self::Request | Self::Room => limits.idle,
        }
    }
}

/// A request that is open as long as this lives.
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
    fn drop(&mut self) {
        add(&self.activity.open, u32::MAX);
        self.activity.mark();
        self.began.ended(&self.activity.server.counts);
    }
}
