//! The reference loop, which is part of the core.

use interloop::Thread;

interloop_conformance::conformance!(Thread);
interloop_conformance::http!(Thread);

/// Two loops of a kind.
mod partners {
    interloop_conformance::partners!(interloop::Thread, interloop::Thread);
}
