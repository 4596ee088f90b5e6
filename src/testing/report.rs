//! What a test says of the end.

use crate::{Report, State};

/// For tests. Feature `testing`.
impl Report {
    /// That the service ended as it was asked to, or had done all: exit code 0, nothing left behind.
    ///
    /// # Panics
    ///
    /// When it did not; the message is the report.
    #[track_caller]
    pub fn assert_clean(&self) -> &Self {
        assert!(self.is_success() && self.stuck.is_empty(), "the service did not end clean: {self}");
        self
    }

    /// That this is the exit code.
    ///
    /// # Panics
    ///
    /// When it is another; the message is the report.
    #[track_caller]
    pub fn assert_code(&self, code: u8) -> &Self {
        assert_eq!(self.code, code, "the exit code: {self}");
        self
    }

    /// The last state of a task.
    ///
    /// # Panics
    ///
    /// When no task had this name.
    #[track_caller]
    pub fn state_of(&self, task: &str) -> State {
        match self.tasks.iter().find(|ended| &*ended.name == task) {
            Some(ended) => ended.state,
            None => panic!("no task was named {task}: {:?}", self.tasks),
        }
    }
}
