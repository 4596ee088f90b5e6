//! A child, as seen by the caller that asked for it.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    process::ExitStatus,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_io::{AsyncRead, AsyncWrite};

use super::{
    core::Order,
    error::CommandError,
    life::{Life, ROOM},
};
use crate::CallError;

/// The result of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// The exit status.
    pub status: ExitStatus,
    /// The standard output, unless it was [heard](super::Command::on_stdout) by a callback or
    /// [taken](Child::take_stdout).
    pub stdout: Vec<u8>,
    /// The standard error, likewise.
    pub stderr: Vec<u8>,
}

/// A command that was [asked for](super::CommandHandle::run): it waits for the task, runs, or has ended. It can be used
/// on any thread and any executor.
///
/// Output that nobody reads makes the child wait, once 64 KiB have come: [take](Self::take_stdout) the outputs, or wait
/// for the [output](Self::output), which collects them, or for the [status](Self::status), which drops them.
///
/// If this is dropped, the child continues, and its output is dropped; unless the command was to be
/// [killed](super::Command::kill_on_drop) then.
pub struct Child {
    life: Arc<Life>,
    stdin: Option<ChildInput>,
    outputs: [Option<ChildOutput>; 2],
    limit: usize,
    /// This is dropped last: by the time the child is killed, nobody misses its output.
    kill: Option<KillOnDrop>,
}

struct KillOnDrop(Arc<Life>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.order(Order::Kill);
    }
}

impl Child {
    pub(super) fn new(
        life: Arc<Life>,
        stdin: Option<ChildInput>,
        outputs: [Option<ChildOutput>; 2],
        limit: usize,
        kill_on_drop: bool,
    ) -> Self {
        let kill = kill_on_drop.then(|| KillOnDrop(life.clone()));
        Self { life, stdin, outputs, limit, kill }
    }

    /// Returns the process id, once the child has been started. The child may have ended since.
    pub fn id(&self) -> Option<u32> {
        self.life.pid()
    }

    /// Waits until the child has been started, and returns the process id.
    ///
    /// # Errors
    ///
    /// If the child could not be started.
    pub fn started(&self) -> impl Future<Output = Result<u32, CommandError>> + Send + use<> {
        let life = self.life.clone();
        poll_fn(move |cx| life.poll_started(cx))
    }

    /// Waits until the child has ended, nothing of its group is left, and its callbacks have heard everything. Outputs
    /// that were not taken are dropped, and the input ends.
    ///
    /// # Errors
    ///
    /// If there was no child.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the child.
    pub fn status(mut self) -> impl Future<Output = Result<ExitStatus, CommandError>> + Send + use<> {
        self.stdin = None;
        self.outputs = [None, None];
        async move {
            // The future takes all of it, so that it is dropped with the future.
            let child = self;
            poll_fn(|cx| child.life.poll_ended(cx)).await
        }
    }

    /// Waits as [`status`](Self::status) does, and collects the outputs. The input ends after what it was given.
    ///
    /// # Errors
    ///
    /// If there was no child, or if an output was longer than the [limit](super::Command::limit).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the child.
    pub fn output(mut self) -> impl Future<Output = Result<Output, CommandError>> + Send + use<> {
        self.stdin = None;
        async move {
            let mut child = self;
            let mut collected = [Vec::new(), Vec::new()];
            let ended = poll_fn(|cx| {
                for (output, bytes) in child.outputs.iter_mut().zip(&mut collected) {
                    if let Some(stream) = output
                        && let Poll::Ready(()) = stream.poll_collect(cx, bytes, child.limit)
                    {
                        if bytes.len() > child.limit {
                            return Poll::Ready(None);
                        }
                        *output = None;
                    }
                }
                if child.outputs.iter().any(Option::is_some) {
                    return Poll::Pending;
                }
                child.life.poll_ended(cx).map(Some)
            });
            let Some(ended) = ended.await else {
                child.life.order(Order::Kill);
                return Err(CommandError::TooMuchOutput { program: child.life.program.clone(), limit: child.limit });
            };
            let [stdout, stderr] = collected;
            ended.map(|status| Output { status, stdout, stderr })
        }
    }

    /// Blocks this thread until the child has ended, and collects the outputs: see [`output`](Self::output). If that
    /// takes longer than `timeout`, the child is killed.
    ///
    /// # Errors
    ///
    /// Those of [`output`](Self::output); [`TimedOut`](CommandError::TimedOut) after `timeout`;
    /// [`WouldBlock`](CommandError::WouldBlock), at once, on the thread of a loop. The exception is a task on the
    /// reference loop [`Thread`](crate::Thread), which may wait for a task that is not on its own loop.
    pub fn output_timeout(mut self, timeout: Duration) -> Result<Output, CommandError> {
        self.kill.get_or_insert_with(|| KillOnDrop(self.life.clone()));
        let place = self.life.place().clone();
        place.wait_for_timeout(self.output(), timeout).unwrap_or_else(|error| {
            Err(if error == CallError::WouldBlock { CommandError::WouldBlock } else { CommandError::TimedOut })
        })
    }

    /// Takes the child's standard input, if it is [piped](super::Command::stdin_piped) and not yet taken.
    pub fn take_stdin(&mut self) -> Option<ChildInput> {
        self.stdin.take()
    }

    /// Takes the child's standard output, if no callback receives it and it is not yet taken.
    pub fn take_stdout(&mut self) -> Option<ChildOutput> {
        self.outputs[0].take()
    }

    /// Takes the child's standard error, if no callback receives it and it is not yet taken.
    pub fn take_stderr(&mut self) -> Option<ChildOutput> {
        self.outputs[1].take()
    }

    /// Asks the child and its group to end: by TERM, and by KILL after the task's kill timeout. A child that has not
    /// been started yet won't be.
    pub fn terminate(&self) {
        self.life.order(Order::Terminate);
    }

    /// Kills the child and its group. A child that has not been started yet won't be.
    pub fn kill(&self) {
        self.life.order(Order::Kill);
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("program", &self.life.program).field("id", &self.id()).finish_non_exhaustive()
    }
}

/// An output of a child, read in pieces, by lines, or as an [`AsyncRead`]; on any executor. It ends when the child's
/// group has ended.
///
/// If this is dropped, further output is dropped too.
pub struct ChildOutput {
    life: Arc<Life>,
    output: usize,
}

impl ChildOutput {
    pub(super) fn new(life: &Arc<Life>, output: usize) -> Self {
        Self { life: life.clone(), output }
    }

    /// Waits for output, and returns all that has come since the last piece; None at the end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        poll_fn(|cx| {
            self.life.poll_output(self.output, cx, |bytes, more| match (bytes.is_empty(), more) {
                (true, true) => None,
                (true, false) => Some(None),
                _ => Some(Some(std::mem::take(bytes).into())),
            })
        })
        .await
    }

    /// Returns the next line, without its end; None after the last. Invalid UTF-8 is replaced; a line longer than 64
    /// KiB comes in parts.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn line(&mut self) -> Option<String> {
        poll_fn(|cx| self.life.poll_output(self.output, cx, take_line)).await
    }

    /// Ready at the end, or when there is more than the limit.
    fn poll_collect(&mut self, cx: &Context<'_>, into: &mut Vec<u8>, limit: usize) -> Poll<()> {
        loop {
            let more = self.life.poll_output(self.output, cx, |bytes, more| {
                let (first, second) = bytes.as_slices();
                into.extend_from_slice(first);
                into.extend_from_slice(second);
                match (bytes.is_empty(), more) {
                    (true, true) => return None,
                    (true, false) => return Some(false),
                    _ => bytes.clear(),
                }
                Some(true)
            });
            if !ready!(more) || into.len() > limit {
                return Poll::Ready(());
            }
        }
    }
}

fn take_line(bytes: &mut VecDeque<u8>, more: bool) -> Option<Option<String>> {
    let end = bytes.iter().take(ROOM).position(|byte| *byte == b'\n');
    let (length, past) = match end {
        Some(end) => (end, end + 1),
        None if more && bytes.len() < ROOM => return None,
        None if bytes.is_empty() => return Some(None),
        None => (bytes.len().min(ROOM), bytes.len().min(ROOM)),
    };
    let line: Vec<u8> = bytes.drain(..past).take(length).collect();
    Some(Some(String::from_utf8(line).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())))
}

impl AsyncRead for ChildOutput {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.life.poll_output(self.output, cx, |bytes, more| {
            if bytes.is_empty() && more && !buffer.is_empty() {
                return None;
            }
            Some(io::Read::read(bytes, buffer))
        })
    }
}

impl Drop for ChildOutput {
    fn drop(&mut self) {
        self.life.unwanted(self.output);
    }
}

impl fmt::Debug for ChildOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildOutput").field("program", &self.life.program).finish_non_exhaustive()
    }
}

/// The standard input of a child: an [`AsyncWrite`], on any executor. Dropping it ends the input.
pub struct ChildInput {
    life: Arc<Life>,
    complete: bool,
}

impl ChildInput {
    pub(super) fn new(life: &Arc<Life>) -> Self {
        Self { life: life.clone(), complete: false }
    }

    /// Writes all of it; waits while 64 KiB wait for the child.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the child reads no more.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a part may have been written.
    pub async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = poll_fn(|cx| self.poll_take(cx, bytes)).await?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn poll_take(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.complete {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.life.poll_input(cx, bytes).map(|taken| taken.ok_or_else(|| io::ErrorKind::BrokenPipe.into()))
    }

    fn complete(&mut self) {
        if !std::mem::replace(&mut self.complete, true) {
            self.life.complete_input(Vec::new());
        }
    }
}

impl AsyncWrite for ChildInput {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_take(cx, bytes)
    }

    /// The task's thread flushes the input.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.complete();
        Poll::Ready(Ok(()))
    }
}

impl Drop for ChildInput {
    fn drop(&mut self) {
        self.complete();
    }
}

impl fmt::Debug for ChildInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildInput").field("program", &self.life.program).finish_non_exhaustive()
    }
}
