//! The ends of programs that tasks run, as far as they explain errors of those tasks.

use std::{process::ExitStatus, sync::Arc};

use crate::{channel::this_thread, words::suspect::Fate};

/// The end of a program that a task runs: so that what comes of it is not taken for a failure when the service is
/// stopping anyway.
///
/// A service manager, or Ctrl-C in a terminal, signals the whole process group: a program that a task runs may die of
/// it before the service has heard its own signal, and the task's next error, that of a broken pipe say, comes of that.
/// An error that comes within 200 ms after a task was told of such an end is held back until it is clear whether the
/// service is being stopped; if it isn't, the task fails as it would have.
///
/// [`Commands`](crate::tasks::Commands) does this for its children; it is for tasks that run programs by other means, a
/// runtime's say. An [`Error::exited`](crate::Error::exited) needs none of it. Clones are the same end.
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
    /// It has ended like this: unless a signal of those that stop services did it (or an exit code that stands for
    /// one), it explains nothing.
    pub fn exited(&self, status: ExitStatus) {
        self.0.set(status);
    }

    /// The task whose code this thread runs learns of the end, which is to be said before anything else comes of it;
    /// also while its status isn't known. Where no task's code runs nothing happens.
    pub fn tell(&self) {
        if let Some(run) = this_thread::run() {
            run.tidings.tell(run.clock.now(), &self.0);
        }
    }
}
