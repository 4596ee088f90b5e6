//! The state that a child's owner and the thread that watches it share: the ends of the three pipes, and the child's
//! progress.
//!
//! An output is read as long as there is room for it; a reader that takes something out of a full one rings the thread.

use std::{
    collections::VecDeque,
    process::ExitStatus,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use super::{
    super::common::lock,
    core::{Core, Order},
    error::CommandError,
};
use crate::{Remote, task::ProgramEnd};

/// How much of an output waits for a reader before the child must wait; and how much input waits for the child.
pub(super) const ROOM: usize = 64 * 1024;

pub(super) struct Life {
    core: Arc<Core>,
    pub(super) id: u64,
    /// The program, as it was asked for.
    pub(super) program: String,
    /// How the child has ended; its group may still live.
    end: ProgramEnd,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    pid: Option<u32>,
    ended: Option<Result<ExitStatus, CommandError>>,
    /// The number of callbacks that have not heard everything.
    unheard: usize,
    waiting: Vec<Waker>,
    outputs: [Held; 2],
    input: Feed,
}

/// An output of a child that nobody has read.
#[derive(Default)]
struct Held {
    bytes: VecDeque<u8>,
    closed: bool,
    unwanted: bool,
    /// The thread doesn't look at it.
    full: bool,
    reader: Option<Waker>,
}

/// Input that a child has not read.
#[derive(Default)]
struct Feed {
    bytes: VecDeque<u8>,
    /// There will be no more input.
    complete: bool,
    /// The child reads no more.
    broken: bool,
    writer: Option<Waker>,
}

impl Life {
    pub(super) fn new(core: &Arc<Core>, id: u64, program: String, unheard: usize) -> Arc<Self> {
        let inner = Inner { unheard, ..Inner::default() };
        Arc::new(Self { core: core.clone(), id, program, end: ProgramEnd::default(), inner: Mutex::new(inner) })
    }

    // --- For the thread ---

    pub(super) fn started(&self, pid: u32) {
        let waiting = {
            let mut inner = lock(&self.inner);
            inner.pid = Some(pid);
            std::mem::take(&mut inner.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Notes how the child has ended; its group may still live.
    pub(super) fn exited(&self, status: ExitStatus) {
        self.end.exited(status);
    }

    /// Ends it; the first result counts.
    pub(super) fn end(&self, ended: Result<ExitStatus, CommandError>) {
        let wakers = {
            let mut inner = lock(&self.inner);
            inner.ended.get_or_insert(ended);
            inner.input.broken = true;
            let mut wakers = std::mem::take(&mut inner.waiting);
            wakers.extend(inner.input.writer.take());
            for output in &mut inner.outputs {
                output.closed = true;
                wakers.extend(output.reader.take());
            }
            wakers
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns how much of an output may be read. If there is no room, a reader that makes some must ring.
    pub(super) fn room(&self, output: usize) -> usize {
        let output = &mut lock(&self.inner).outputs[output];
        let room = if output.unwanted { ROOM } else { ROOM.saturating_sub(output.bytes.len()) };
        output.full = room == 0;
        room
    }

    /// Adds bytes that were read from an output.
    pub(super) fn said(&self, output: usize, bytes: &[u8]) {
        let reader = {
            let output = &mut lock(&self.inner).outputs[output];
            if output.unwanted {
                return;
            }
            output.bytes.extend(bytes);
            output.reader.take()
        };
        reader.into_iter().for_each(Waker::wake);
    }

    pub(super) fn close(&self, output: usize) {
        let reader = {
            let output = &mut lock(&self.inner).outputs[output];
            output.closed = true;
            output.reader.take()
        };
        reader.into_iter().for_each(Waker::wake);
    }

    /// Has `write` take some of the input, as long as it takes any; returns the last result of `write`. `Ok` means that
    /// all input was taken.
    pub(super) fn feed<E>(&self, mut write: impl FnMut(&[u8]) -> Result<usize, E>) -> Option<Result<(), E>> {
        let (result, writer) = {
            let feed = &mut lock(&self.inner).input;
            let before = feed.bytes.len();
            let result = loop {
                let (first, _) = feed.bytes.as_slices();
                if first.is_empty() {
                    break feed.complete.then_some(Ok(()));
                }
                match write(first) {
                    Ok(written) => drop(feed.bytes.drain(..written)),
                    Err(error) => break Some(Err(error)),
                }
            };
            (result, if feed.bytes.len() < before { feed.writer.take() } else { None })
        };
        writer.into_iter().for_each(Waker::wake);
        result
    }

    /// Notes that the child reads no more.
    pub(super) fn break_input(&self) {
        let writer = {
            let feed = &mut lock(&self.inner).input;
            feed.broken = true;
            feed.bytes.clear();
            feed.writer.take()
        };
        writer.into_iter().for_each(Waker::wake);
    }

    // --- For the owner ---

    pub(super) fn pid(&self) -> Option<u32> {
        lock(&self.inner).pid
    }

    /// Returns the task's loop.
    pub(super) fn place(&self) -> &Remote<()> {
        self.core.place()
    }

    pub(super) fn order(&self, order: fn(u64) -> Order) {
        self.core.order(order(self.id));
    }

    pub(super) fn poll_started(&self, cx: &Context<'_>) -> Poll<Result<u32, CommandError>> {
        let mut inner = lock(&self.inner);
        match (inner.pid, &inner.ended) {
            (Some(pid), _) => Poll::Ready(Ok(pid)),
            (None, Some(Err(error))) => Poll::Ready(Err(error.clone())),
            _ => inner.wait(cx),
        }
    }

    /// Ready when it is over and all callbacks have heard everything.
    pub(super) fn poll_ended(&self, cx: &Context<'_>) -> Poll<Result<ExitStatus, CommandError>> {
        let ended = {
            let mut inner = lock(&self.inner);
            match &inner.ended {
                Some(ended) if inner.unheard == 0 => ended.clone(),
                _ => return inner.wait(cx),
            }
        };
        if matches!(ended, Ok(_) | Err(CommandError::Stopped)) {
            self.end.tell();
        }
        Poll::Ready(ended)
    }

    /// Notes that one callback has heard everything, or will hear no more.
    pub(super) fn heard(&self) {
        let waiting = {
            let mut inner = lock(&self.inner);
            inner.unheard = inner.unheard.saturating_sub(1);
            std::mem::take(&mut inner.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Has `take` take something out of an output. `take` gets the bytes, and whether more may come; it returns nothing
    /// while it waits for more.
    pub(super) fn poll_output<R>(
        &self,
        output: usize,
        cx: &Context<'_>,
        take: impl FnOnce(&mut VecDeque<u8>, bool) -> Option<R>,
    ) -> Poll<R> {
        let (taken, rings, at_end) = {
            let output = &mut lock(&self.inner).outputs[output];
            let at_end = output.closed && output.bytes.is_empty();
            match take(&mut output.bytes, !output.closed) {
                Some(taken) => (taken, std::mem::take(&mut output.full), at_end),
                None => {
                    output.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        };
        if rings {
            self.order(Order::Look);
        }
        if at_end {
            self.end.tell();
        }
        Poll::Ready(taken)
    }

    /// Drops an output, now and in future: nobody reads it.
    pub(super) fn unwanted(&self, output: usize) {
        let rings = {
            let output = &mut lock(&self.inner).outputs[output];
            output.unwanted = true;
            output.bytes = VecDeque::new();
            std::mem::take(&mut output.full)
        };
        if rings {
            self.order(Order::Look);
        }
    }

    /// Takes as much input as there is room for; None if the child reads no more.
    pub(super) fn poll_input(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<Option<usize>> {
        let taken = {
            let feed = &mut lock(&self.inner).input;
            let taken = bytes.len().min(ROOM.saturating_sub(feed.bytes.len()));
            if feed.broken {
                None
            } else if taken == 0 && !bytes.is_empty() {
                feed.writer = Some(cx.waker().clone());
                return Poll::Pending;
            } else {
                feed.bytes.extend(&bytes[..taken]);
                Some(taken)
            }
        };
        let Some(taken) = taken else {
            self.end.tell();
            return Poll::Ready(None);
        };
        self.order(Order::Look);
        Poll::Ready(Some(taken))
    }

    /// Ends the input after this rest.
    pub(super) fn complete_input(&self, rest: Vec<u8>) {
        {
            let feed = &mut lock(&self.inner).input;
            feed.bytes.extend(rest);
            feed.complete = true;
        }
        self.order(Order::Look);
    }
}

impl Inner {
    fn wait<R>(&mut self, cx: &Context<'_>) -> Poll<R> {
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
