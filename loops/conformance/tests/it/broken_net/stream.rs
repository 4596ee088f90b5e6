//! A connection with one thing wrong.

use std::{
    collections::VecDeque,
    io,
    os::fd::AsFd,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker, ready},
    time::Duration,
};

use interloop::net::{AsyncRead, AsyncWrite, ReactorStream, SocketRef};
use socket2::SockRef;

use super::fault::{Fault, Shared};

/// One byte in this many is dropped.
const NOW_AND_THEN: usize = 50_000;
/// How many streams are told in a turn that they can read.
const BATCH: usize = 64;
/// How many bytes of a read are passed on.
const GIVEN: usize = 100;

pub(crate) struct FaultyStream {
    inner: ReactorStream,
    shared: Rc<Shared>,
    read: usize,
    was_short: bool,
    was_woken: bool,
    held_back: VecDeque<u8>,
    last: Arc<LastWaker>,
}

impl FaultyStream {
    pub(crate) fn new(inner: ReactorStream, shared: &Rc<Shared>) -> io::Result<Self> {
        if shared.has(Fault::LeaksADescriptorAConnection) {
            std::mem::forget(inner.socket().as_fd().try_clone_to_owned()?);
        }
        Ok(Self {
            inner,
            shared: shared.clone(),
            read: 0,
            was_short: false,
            was_woken: false,
            held_back: VecDeque::new(),
            last: Arc::default(),
        })
    }

    pub(crate) fn socket(&self) -> SocketRef<'_> {
        self.inner.socket().into()
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if polled.is_ready() {
            self.shared.moved.set(self.shared.moved.get() + 1);
            self.shared.read_in_turn.set(self.shared.read_in_turn.get() + 1);
        }
        polled
    }

    fn poll_with_a_byte_less(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = ready!(self.poll_inner(cx, buf))?;
        let before = self.read;
        self.read += count;
        let is_due = before / NOW_AND_THEN != self.read / NOW_AND_THEN;
        Poll::Ready(Ok(if is_due && count > 1 { count - 1 } else { count }))
    }

    fn poll_but_the_end(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let polled = self.poll_inner(cx, buf);
        match polled {
            // The end came with what was read before: there is no further news.
            Poll::Ready(Ok(0)) if self.was_short => return Poll::Pending,
            Poll::Ready(Ok(count)) => self.was_short = count < buf.len(),
            _ => self.was_short = false,
        }
        polled
    }

    fn poll_once_woken(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut unheard = Context::from_waker(Waker::noop());
        let polled = self.poll_inner(if self.was_woken { &mut unheard } else { cx }, buf);
        self.was_woken |= polled.is_ready();
        polled
    }

    fn poll_some(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = ready!(self.poll_inner(cx, buf))?;
        if count > 0 {
            self.held_back.extend(&buf[..count]);
        }
        // All of it is given only at the end.
        let given = self.held_back.len().min(if count == 0 { buf.len() } else { GIVEN.min(buf.len()) });
        for (to, byte) in buf.iter_mut().zip(self.held_back.drain(..given)) {
            *to = byte;
        }
        Poll::Ready(Ok(given))
    }
}

impl AsyncRead for FaultyStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.shared.fault {
            Fault::DropsAByteNowAndThen => this.poll_with_a_byte_less(cx, buf),
            Fault::SeesOneBatchOfEvents if this.shared.read_in_turn.get() >= BATCH => Poll::Pending,
            Fault::ForgetsTheEndAfterAShortRead => this.poll_but_the_end(cx, buf),
            Fault::HoldsBackWhatItHasRead => this.poll_some(cx, buf),
            Fault::WatchesAStreamOnce => this.poll_once_woken(cx, buf),
            Fault::TakesAResetForTheEnd => this.poll_inner(cx, buf).map(|read| match read {
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
                read => read,
            }),
            Fault::WakesOneHalfOnly => {
                let waker = this.last.set(cx);
                this.poll_inner(&mut Context::from_waker(&waker), buf)
            }
            _ => this.poll_inner(cx, buf),
        }
    }
}

impl AsyncWrite for FaultyStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.shared.moved.set(this.shared.moved.get() + 1);
        let inner = Pin::new(&mut this.inner);
        match this.shared.fault {
            Fault::SwapsTwoBytes if buf.len() > 64 => {
                let mut swapped = buf.to_vec();
                swapped.swap(35, 36);
                inner.poll_write(cx, &swapped)
            }
            Fault::WakesOneHalfOnly => {
                let waker = this.last.set(cx);
                inner.poll_write(&mut Context::from_waker(&waker), buf)
            }
            _ => inner.poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.shared.fault {
            Fault::GoesOnSendingAfterAClose => Poll::Ready(Ok(())),
            Fault::ResetsAtTheClose => Poll::Ready(SockRef::from(&this.socket()).set_linger(Some(Duration::ZERO))),
            _ => Pin::new(&mut this.inner).poll_close(cx),
        }
    }
}

/// Wakes the task that polled last, whether to read or to write.
#[derive(Default)]
struct LastWaker(Mutex<Option<Waker>>);

impl LastWaker {
    fn set(self: &Arc<Self>, cx: &Context<'_>) -> Waker {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        self.clone().into()
    }
}

impl Wake for LastWaker {
    fn wake(self: Arc<Self>) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
