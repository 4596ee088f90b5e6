//! A child, as whoever asked for it sees it.

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

/// What has become of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote on its standard output, if nothing else [heard](super::Command::on_stdout) or [took](Child::take_stdout) it.
    pub stdout: Vec<u8>,
    /// What it wrote on its standard error, likewise.
    pub stderr: Vec<u8>,
}

/// A command that was [asked for](super::CommandHandle::run): it waits for the task, runs, or has ended. For any thread, on any executor.
///
/// What nobody reads of its outputs makes the child wait, once 64 KiB have come: [take](Self::take_stdout) them, or wait for the [output](Self::output),
/// which collects them, or for the [status](Self::status), which drops them.
///
/// Dropped, the child goes on, and what it says is dropped; unless it was to be [killed](super::Command::kill_on_drop) then.
pub struct Child {
    life: Arc<Life>,
    stdin: Option<ChildInput>,
    outputs: [Option<ChildOutput>; 2],
    limit: usize,
    /// Dropped last: nobody misses what the child says when it is killed.
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

    /// Its number, once it has been started. It may have ended since.
    pub fn id(&self) -> Option<u32> {
        self.life.pid()
    }

    /// Waits until it has been started; then its number.
    ///
    /// # Errors
    ///
    /// When it could not be.
    pub fn started(&self) -> impl Future<Output = Result<u32, CommandError>> + Send + use<> {
        let life = self.life.clone();
        poll_fn(move |cx| life.poll_started(cx))
    }

    /// Waits until it has ended, and nothing of its group is left, and its callbacks have heard everything. What nobody has taken of its outputs is dropped,
    /// and its input ends.
    ///
    /// # Errors
    ///
    /// When there was no child.
    ///
    /// # Cancel safety
    ///
    /// To drop it is to drop the child.
    pub fn status(mut self) -> impl Future<Output = Result<ExitStatus, CommandError>> + Send + use<> {
        self.stdin = None;
        self.outputs = [None, None];
        async move {
            // All of it, so that it is dropped with the future.
            let child = self;
            poll_fn(|cx| child.life.poll_ended(cx)).await
        }
    }

    /// Waits as [`status`](Self::status) does, and collects what it says. Its input ends with what it was given.
    ///
    /// # Errors
    ///
    /// When there was no child, or it said more than the [limit](super::Command::limit).
    ///
    /// # Cancel safety
    ///
    /// To drop it is to drop the child.
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

    /// Blocks this thread until it has ended, and collects what it says: see [`output`](Self::output). When it takes longer than this it is killed.
    ///
    /// # Errors
    ///
    /// Those of [`output`](Self::output); [`TimedOut`](CommandError::TimedOut) after `timeout`; [`WouldBlock`](CommandError::WouldBlock), at once, on the
    /// thread of a loop, but for a task's on the reference loop [`Thread`](crate::Thread), which may wait for a task that is not on its own.
    pub fn output_timeout(mut self, timeout: Duration) -> Result<Output, CommandError> {
        self.kill.get_or_insert_with(|| KillOnDrop(self.life.clone()));
        let place = self.life.place().clone();
        place.wait_for_timeout(self.output(), timeout).unwrap_or_else(|error| {
            Err(if error == CallError::WouldBlock { CommandError::WouldBlock } else { CommandError::TimedOut })
        })
    }

    /// What it reads, if it is [piped](super::Command::stdin_piped), and once.
    pub fn take_stdin(&mut self) -> Option<ChildInput> {
        self.stdin.take()
    }

    /// What it writes on its standard output, if no callback hears it, and once.
    pub fn take_stdout(&mut self) -> Option<ChildOutput> {
        self.outputs[0].take()
    }

    /// What it writes on its standard error, if no callback hears it, and once.
    pub fn take_stderr(&mut self) -> Option<ChildOutput> {
        self.outputs[1].take()
    }

    /// Asks it, and its group, to end: TERM, and KILL after the task's kill timeout. Before it was started, it will not be.
    pub fn terminate(&self) {
        self.life.order(Order::Terminate);
    }

    /// Kills it, and its group. Before it was started, it will not be.
    pub fn kill(&self) {
        self.life.order(Order::Kill);
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("program", &self.life.program).field("id", &self.id()).finish_non_exhaustive()
    }
}

/// What a child writes: in pieces, by lines, or as an [`AsyncRead`]; on any executor. It ends when the child's group has ended.
///
/// Dropped, what comes is dropped.
pub struct ChildOutput {
    life: Arc<Life>,
    output: usize,
}

impl ChildOutput {
    pub(super) fn new(life: &Arc<Life>, output: usize) -> Self {
        Self { life: life.clone(), output }
    }

    /// What has come since the last piece, as soon as there is something; None at the end.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped.
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

    /// The next line, without its end; None after the last. What is not UTF-8 is replaced; a line longer than 64 KiB comes in parts.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped.
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

/// What a child reads: an [`AsyncWrite`], on any executor. Dropped, it ends there.
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
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) when the child reads no more.
    ///
    /// # Cancel safety
    ///
    /// Dropped, a part may have been written.
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

    /// The thread of the task's does that.
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
