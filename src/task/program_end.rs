//! The ends of programs that tasks run, as far as they explain errors of those tasks.

use std::{process::ExitStatus, sync::Arc};

use crate::{channel::this_thread, words::suspect::Fate};

/// The end of a program that a task runs, so that its consequences don't count as a failure while the service is
/// stopping.
///
/// A service manager, or Ctrl-C in a terminal, signals the whole process group. So a program that a task runs may die
/// of the signal before the service has received its own, and the task's next error, such as a broken pipe, is a
/// consequence. An error within 200 ms after a task was told of such an end is held back until it is clear whether the
/// service is being stopped; if it isn't, the task fails as usual.
///
/// [`Commands`](crate::tasks::command::Commands) does this for its children. This type is for tasks that run programs
/// by other means, such as a runtime's. An [`Error::exited`](crate::Error::exited) needs none of it. Clones share the
/// same end.
///
/// ```
/// # use interloop::{Context, Error, EventLoop, Result, task::ProgramEnd};
/// use std::{io::Read, process::{Command, Stdio}};
///
/// fn listen() -> Result<Vec<u8>> {
///     let mut child = Command::new("nc").arg("-l").arg("4000").stdout(Stdio::piped()).spawn()?;
///     let end = ProgramEnd::default();
///     let mut heard = Vec::new();
///     if let Some(output) = &mut child.stdout {
///         output.read_to_end(&mut heard)?;
///     }
///     end.tell(); // its output is at its end: it may have been killed
///     end.exited(child.wait()?); // now it is known
///     if heard.is_empty() { Err(Error::new("nothing was said")) } else { Ok(heard) }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ProgramEnd(Arc<Fate>);

impl ProgramEnd {
    /// Records the program's exit status.
    ///
    /// It explains nothing unless the status is a signal that stops services, or an exit code that stands for one.
    pub fn exited(&self, status: ExitStatus) {
        self.0.set(status);
    }

    /// Tells the task whose code this thread runs that the program has ended.
    ///
    /// Call it before any consequence of the end can reach the task, even if the exit status isn't known yet. If this
    /// thread runs no task's code, nothing happens.
    pub fn tell(&self) {
        if let Some(run) = this_thread::run() {
            run.tidings.tell(run.clock.now(), &self.0);
        }
    }
}
