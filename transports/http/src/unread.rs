//! Handles the unread rest of a request's body on HTTP/1, between the response and the next request.
//!
//! A small rest is read and thrown away, so that the connection can go on. Otherwise the connection is closed, but not
//! before the client, which may read nothing until it has sent everything, has had time to take the response: see
//! [`Io`](crate::io::Io).

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
};

use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, rt::Executor};

use crate::streams::Inbox;

/// How much is read for the sake of the next request.
const SMALL: usize = 256 << 10;

const NONE: u8 = 0;
/// The rest is being read.
const SOME: u8 = 1;
/// The connection can't go on.
const TOO_MUCH: u8 = 2;

/// The unread rest of the current request, or of the last one.
pub(crate) struct Unread {
    inbox: Inbox,
    left: Arc<AtomicU8>,
    /// The client sends the body once it is told to, or never.
    expects: AtomicBool,
}

impl Unread {
    /// Creates one with the connection's inbox.
    pub(crate) fn new(inbox: Inbox) -> Self {
        Self { inbox, left: Arc::default(), expects: AtomicBool::new(false) }
    }

    /// Notes that a request with a body has begun. `expects` says whether it has `expect: 100-continue`.
    #[inline]
    pub(crate) fn begin(&self, expects: bool) {
        self.left.store(NONE, Relaxed);
        self.expects.store(expects, Relaxed);
    }

    /// Notes that the handler has begun to read, which tells the client to send.
    pub(crate) fn is_wanted(&self) {
        self.expects.store(false, Relaxed);
    }

    /// Takes a body whose handler is finished with it before its end.
    pub(crate) fn leave(&self, body: Limited<Incoming>) {
        if self.expects.load(Relaxed) || body.size_hint().lower() > SMALL as u64 {
            self.left.store(TOO_MUCH, Relaxed);
            return;
        }
        self.left.store(SOME, Relaxed);
        self.inbox.execute(read(body, self.left.clone()));
    }

    #[inline]
    pub(crate) fn is_left(&self) -> bool {
        self.left.load(Relaxed) != NONE
    }

    #[inline]
    pub(crate) fn is_too_much(&self) -> bool {
        self.left.load(Relaxed) == TOO_MUCH
    }
}

/// Reads the rest; one that exceeds its limit, or isn't worth reading, is dropped, and hyper then closes the
/// connection.
async fn read(mut body: Limited<Incoming>, left: Arc<AtomicU8>) {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return };
        bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
        if bytes > SMALL {
            return;
        }
    }
    left.store(NONE, Relaxed);
}
