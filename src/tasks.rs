//! Ready-made tasks, for any loop.

mod periodic;

pub use self::periodic::Periodic;
