//! Detects which connections of a server their clients have ended: finished, by a FIN, or broken, by a reset.
//!
//! While its handler is at work, nobody reads a connection, so the server doesn't notice that the client is gone; the
//! end may also stand behind bytes that nobody wants yet. Therefore an epoll instance of the server's own watches the
//! sockets a second time, for their ends and nothing else. The loop watches one more descriptor per server, data costs
//! no wakeup, and it works the same on every loop. A socket leaves the instance when it closes.
//!
//! A connection is added when it first waits for its handler; a connection that is always answered at once is never
//! added.
//!
//! Nothing is detected on a loop that watches no descriptors, nor on a system without epoll.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

#[cfg(target_os = "linux")]
pub use self::linux::{Ends, EndsHandle, Watched};
#[cfg(not(target_os = "linux"))]
pub use self::nowhere::{Ends, EndsHandle, Watched};

/// How a connection has ended, as far as is known: shared by its own task and whatever detects the end.
#[derive(Debug, Default)]
pub struct End {
    finished: AtomicBool,
    broken: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl End {
    /// Returns whether the client sends no more. It may still read.
    #[inline]
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Returns whether the connection is broken: there is nobody to answer.
    #[inline]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Records that the client has finished, and wakes the connection's task.
    pub fn finish(&self) {
        if !self.finished.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Sets the waker of the connection's task, which must look at the flags after this.
    pub fn set_waker(&self, waker: &Waker) {
        let old = self.lock().replace(waker.clone());
        drop(old);
    }

    /// Wakes the connection's task.
    pub fn wake(&self) {
        let waker = self.lock().clone();
        waker.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        collections::BTreeMap,
        fmt, io,
        mem::MaybeUninit,
        os::fd::OwnedFd,
        sync::{Arc, Mutex, PoisonError, atomic::Ordering},
        task::Context as Poller,
    };

    use interloop::{
        Context,
        net::{Interest, Net, SocketRef, Watch},
    };
    use rustix::event::{Timespec, epoll};

    use super::End;

    const EVENTS: usize = 64;

    /// The server's side, which notifies the connections. The server's task must poll it.
    pub struct Ends {
        watch: Option<Box<dyn Watch>>,
        handle: EndsHandle,
    }

    /// The connections' side, usable on any thread. Clones share the same instance.
    #[derive(Clone, Debug)]
    pub struct EndsHandle(Arc<Inner>);

    #[derive(Debug)]
    struct Inner {
        epoll: OwnedFd,
        watched: Mutex<Connections>,
    }

    #[derive(Debug, Default)]
    struct Connections {
        next: u64,
        ends: BTreeMap<u64, Arc<End>>,
    }

    impl Ends {
        /// Creates it, on the loop's thread.
        ///
        /// # Errors
        ///
        /// Returns the system's error: there may be no descriptor left.
        pub fn new<L: Net, O>(cx: &Context<L, O>) -> io::Result<Self> {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            let handle = EndsHandle(Arc::new(Inner { epoll: epoll.try_clone()?, watched: Mutex::default() }));
            let watch = match L::watch_boxed(cx.native(), epoll) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
                watch => Some(watch?),
            };
            Ok(Self { watch, handle })
        }

        /// Returns the handle that connections are added with.
        pub fn handle(&self) -> EndsHandle {
            self.handle.clone()
        }

        /// Notifies the connections whose clients have ended, and arranges to be polled when there are more.
        ///
        /// # Errors
        ///
        /// Returns an error of the loop or the system; none is expected.
        pub fn poll(&self, poller: &mut Poller<'_>) -> io::Result<()> {
            let Some(watch) = &self.watch else { return Ok(()) };
            while watch.poll_ready(Interest::Read, poller)?.is_ready() {
                // Whatever comes after this makes it ready again.
                watch.clear(Interest::Read);
                while self.handle.0.tell_some()? == EVENTS {}
            }
            Ok(())
        }
    }

    impl EndsHandle {
        /// Watches this connection's socket until the returned guard is dropped.
        ///
        /// # Errors
        ///
        /// Returns the system's error: too many descriptors may be watched already.
        pub fn watch(&self, socket: SocketRef<'_>, end: &Arc<End>) -> io::Result<Watched> {
            let key = {
                let mut watched = self.0.lock();
                watched.next += 1;
                let key = watched.next;
                watched.ends.insert(key, end.clone());
                key
            };
            let guard = Watched { inner: self.0.clone(), key };
            // An end that has come already is reported too.
            let flags = epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
            epoll::add(&self.0.epoll, socket, epoll::EventData::new_u64(key), flags)?;
            Ok(guard)
        }
    }

    impl Inner {
        fn lock(&self) -> std::sync::MutexGuard<'_, Connections> {
            self.watched.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Notifies some connections, and returns how many.
        fn tell_some(&self) -> io::Result<usize> {
            let mut events = [MaybeUninit::<epoll::Event>::uninit(); EVENTS];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let (fetched, _) = epoll::wait(&self.epoll, &mut events, Some(&at_once))?;
            for event in &*fetched {
                self.tell(event.data.u64(), event.flags);
            }
            Ok(fetched.len())
        }

        fn tell(&self, key: u64, flags: epoll::EventFlags) {
            let Some(end) = self.lock().ends.get(&key).cloned() else { return };
            if flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
                end.broken.store(true, Ordering::Release);
            }
            end.finished.store(true, Ordering::Release);
            end.wake();
        }
    }

    /// A connection whose socket is watched.
    #[derive(Debug)]
    #[must_use = "dropping it ends the watch"]
    pub struct Watched {
        inner: Arc<Inner>,
        key: u64,
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            let end = self.inner.lock().ends.remove(&self.key);
            drop(end);
        }
    }

    impl fmt::Debug for Ends {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Ends").field("handle", &self.handle).finish_non_exhaustive()
        }
    }
}

/// Without epoll nothing is detected.
#[cfg(not(target_os = "linux"))]
mod nowhere {
    use std::{io, sync::Arc, task::Context as Poller};

    use interloop::{
        Context,
        net::{Net, SocketRef},
    };

    use super::End;

    /// The server's side.
    #[derive(Debug)]
    pub struct Ends;

    /// The connections' side.
    #[derive(Clone, Copy, Debug)]
    pub struct EndsHandle;

    /// A connection whose socket would be watched.
    #[derive(Debug)]
    pub struct Watched;

    #[allow(missing_docs, clippy::missing_errors_doc, clippy::unused_self, clippy::unnecessary_wraps)]
    impl Ends {
        pub fn new<L: Net, O>(_: &Context<L, O>) -> io::Result<Self> {
            Ok(Self)
        }

        pub fn handle(&self) -> EndsHandle {
            EndsHandle
        }

        pub fn poll(&self, _: &mut Poller<'_>) -> io::Result<()> {
            Ok(())
        }
    }

    #[allow(missing_docs, clippy::missing_errors_doc, clippy::unused_self, clippy::unnecessary_wraps)]
    impl EndsHandle {
        pub fn watch(&self, _: SocketRef<'_>, _: &Arc<End>) -> io::Result<Watched> {
            Ok(Watched)
        }
    }
}
