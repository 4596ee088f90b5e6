//! The parts of interloop-thrift that see what clients send, as they are, for the targets.

#![forbid(unsafe_code)]
#![allow(dead_code, unreachable_pub, reason = "each target uses its part")]

#[path = "../../transports/thrift/src/messages.rs"]
mod messages;
#[path = "../../transports/thrift/src/walk.rs"]
mod walk;
#[path = "../../transports/thrift/src/wire.rs"]
mod wire;

/// The defaults of the crate: wire.rs names them.
mod settings {
    pub(crate) const MAX_FRAME_SIZE: usize = 16 << 20;
    pub(crate) const MAX_CONTAINER_SIZE: usize = 1_000_000;
    pub(crate) const MAX_NESTING: usize = 64;
}

mod decoders;
mod frames;

pub use decoders::decoders;
pub use frames::frames;

use walk::Limits;

/// Small, so that what is at random comes up to them.
const LIMITS: Limits = Limits { message: 4096, string: 1024, container: 512, nesting: 16 };
