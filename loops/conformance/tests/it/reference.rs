//! The reference loop, which the core brings itself.

use interloop::Thread;

interloop_conformance::conformance!(Thread);
interloop_conformance::http!(Thread);

/// Two of a kind.
mod partners {
    interloop_conformance::partners!(interloop::Thread, interloop::Thread);
}
