//! What fb303 calls the state of a service.

use std::fmt;

/// The state of a service, as fb303 has it. The numbers are those of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum FbStatus {
    /// It was never started, or has ended, and not as it was asked to.
    Dead = 0,
    /// Some task is not ready yet.
    Starting = 1,
    /// All is well.
    Alive = 2,
    /// It was asked to stop.
    Stopping = 3,
    /// It has ended as it was asked to.
    Stopped = 4,
    /// It runs, and something needs somebody's attention: a warning, a task that has failed or is being restarted.
    Warning = 5,
}

impl FbStatus {
    /// Its name in the interface: `ALIVE`.
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
