//! Assertions of a test on the end of a service.

use crate::{Report, State};

/// Assertions for tests. Feature `testing`.
impl Report {
    /// Asserts that the service ended as it was asked to, or had done all: exit code 0, nothing left behind.
    ///
    /// # Panics
    ///
    /// Panics if it did not; the message is the report.
    #[track_caller]
    pub fn assert_clean(&self) -> &Self {
        assert!(self.is_success() && self.stuck.is_empty(), "the service did not end clean: {self}");
        self
    }

    /// Asserts that this is the exit code.
    ///
    /// # Panics
    ///
    /// Panics if the code is another; the message is the report.
    #[track_caller]
    pub fn assert_code(&self, code: u8) -> &Self {
        assert_eq!(self.code, code, "the exit code: {self}");
        self
    }

    /// Returns the last state of a task.
    ///
    /// # Panics
    ///
    /// Panics if no task had this name.
    #[track_caller]
    pub fn state_of(&self, task: &str) -> State {
        match self.tasks.iter().find(|ended| &*ended.name == task) {
            Some(ended) => ended.state,
            None => panic!("no task was named {task}: {:?}", self.tasks),
        }
    }
}
