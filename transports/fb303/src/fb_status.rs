//! The states of a service in fb303.

use std::fmt;

/// The state of a service in fb303. The numbers are those of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum FbStatus {
    /// It was never started, or has ended with a failure.
    Dead = 0,
    /// Some task is not ready yet.
    Starting = 1,
    /// All is well.
    Alive = 2,
    /// It was asked to stop.
    Stopping = 3,
    /// It has ended without a failure.
    Stopped = 4,
    /// It runs, and something needs attention: a warning, a task that has failed or is being restarted.
    Warning = 5,
}

impl FbStatus {
    /// Returns its name in the interface: `ALIVE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "DEAD",
            Self::Starting => "STARTING",
            Self::Alive => "ALIVE",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Warning => "WARNING",
        }
    }
}

impl fmt::Display for FbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
