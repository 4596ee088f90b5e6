//! Implements zbus's runtime on the loop of a task: nothing here is `!Send`, since everything that is stays in the
//! [driver](crate::jobs::Driver).

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    os::unix::ffi::OsStrExt,
    panic::AssertUnwindSafe,
    path::Path,
    pin::{Pin, pin},
    process::{Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context as Poller, Poll},
    thread,
    time::Duration,
};

use futures_channel::oneshot;
use futures_util::FutureExt;
use interloop::{net, task::log_panic};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use zbus::runtime::{
    Interest, IoSource,
    traits::{PollIo, Runtime, TaskHandle},
};

use crate::jobs::{Era, Host, Job, Jobs, Waits};

/// How long to wait before connecting again to a bus that can take no further connection.
const BUSY: Duration = Duration::from_millis(20);

/// After this many reads, others get their turn: zbus goes on for as long as there is anything to read. Few, since tokio
/// looks at its timers after 61 turns only. A writer holds the lock of all writers, so it is not interrupted.
const TURN: u32 = 4;

/// A task's loop, for zbus.
pub(crate) struct LoopRuntime(Arc<Jobs>);

impl Clone for LoopRuntime {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl Drop for LoopRuntime {
    fn drop(&mut self) {
        self.0.has_less_users();
    }
}

impl LoopRuntime {
    pub(crate) fn new(jobs: Arc<Jobs>) -> Self {
        jobs.has_more_users();
        Self(jobs)
    }

    /// Creates a future on the loop's thread, and brings its result to this one. Dropping the receiver drops the
    /// future, there.
    fn ask<T: Send + 'static, F: Future<Output = T> + 'static>(
        &self,
        make: impl FnOnce(&dyn Host) -> F + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (mut answer, wait) = oneshot::channel();
        self.0.push(Job::Make(Box::new(move |host| {
            let future = make(host);
            Box::pin(async move {
                let mut future = pin!(future);
                let output = poll_fn(|poller| {
                    if answer.poll_canceled(poller).is_ready() {
                        return Poll::Ready(None);
                    }
                    future.as_mut().poll(poller).map(Some)
                });
                if let Some(output) = output.await {
                    let _ = answer.send(output);
                }
            })
        })));
        wait
    }

    fn has_ended() -> io::Error {
        io::Error::new(io::ErrorKind::NotConnected, "the task of this D-Bus connection has ended")
    }
}

impl Runtime for LoopRuntime {
    type RegisteredIoSource = Registration;
    type Sleep = Sleep;
    type Task<T>
        = Task<T>
    where
        T: Send + 'static;

    fn register_io_source(&self, source: IoSource) -> io::Result<Registration> {
        let fd = source.as_fd().try_clone_to_owned()?;
        let waits = Arc::new(Waits::default());
        let until_dropped = EndsWaits(waits.clone());
        self.0.push(Job::Make(Box::new(move |host| {
            let watch = host.watch(fd);
            Box::pin(async move {
                // Also when this future, or the job, is dropped: those that wait are told.
                let waits = until_dropped;
                match watch {
                    Ok(watch) => poll_fn(|poller| waits.0.poll(&*watch, poller)).await,
                    Err(error) => log::error!("a D-Bus connection can't be watched: {error}"),
                }
            })
        })));
        let jobs = self.0.clone();
        Ok(Registration { waits: EndsWaits(waits), jobs, reads: AtomicU32::new(0), _source: source })
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep(self.ask(move |host| host.sleep(duration)))
    }

    fn spawn<T: Send + 'static>(&self, name: &str, future: impl Future<Output = T> + Send + 'static) -> Task<T> {
        let is_detached = Arc::new(AtomicBool::new(false));
        let (mut answer, wait) = oneshot::channel();
        let (jobs, era) = (self.0.clone(), self.0.era());
        let detached = Counted(is_detached.clone(), jobs.clone(), era);
        let name = name.to_owned();
        self.0.push(Job::Run(Box::pin(async move {
            let detached = detached;
            let mut future = pin!(AssertUnwindSafe(future).catch_unwind());
            let output = poll_fn(|poller| {
                if answer.poll_canceled(poller).is_ready() && !detached.0.load(Ordering::Acquire) {
                    return Poll::Ready(None);
                }
                future.as_mut().poll(poller).map(Some)
            });
            match output.await {
                Some(Ok(output)) => drop(answer.send(output)),
                Some(Err(panic)) => drop(log_panic(module_path!(), format_args!("D-Bus: {name}"), panic)),
                None => {}
            }
        })));
        Task { wait, is_detached, jobs, era }
    }

    fn connect_tcp(&self, address: SocketAddr) -> impl Future<Output = io::Result<IoSource>> + Send {
        let connect = self.ask(move |host| {
            let connect = host.connect(address);
            async move {
                let stream = std::net::TcpStream::from(connect.await?);
                stream.set_nonblocking(true)?;
                Ok(IoSource::from(OwnedFd::from(stream)))
            }
        });
        async move { connect.await.unwrap_or_else(|_| Err(Self::has_ended())) }
    }

    fn connect_unix(&self, path: &Path) -> impl Future<Output = io::Result<IoSource>> + Send {
        let address = match path.as_os_str().as_bytes() {
            #[cfg(target_os = "linux")]
            [0, name @ ..] => SocketAddrUnix::new_abstract_name(name),
            _ => SocketAddrUnix::new(path),
        };
        let runtime = self.clone();
        async move {
            let address = address?;
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            // A Unix socket is connected at once, or not at all.
            while let Err(error) = rustix::net::connect(&socket, &address) {
                if error != rustix::io::Errno::AGAIN {
                    return Err(error.into());
                }
                runtime.sleep(BUSY).await;
            }
            Ok(IoSource::from(socket))
        }
    }

    fn spawn_process(
        &self,
        _command: Command,
        _stdin: Stdio,
        _stdout: Stdio,
        _stderr: Stdio,
    ) -> io::Result<Pin<Box<dyn Future<Output = io::Result<ExitStatus>> + Send>>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "no bus is reached by way of a program"))
    }

    /// Runs the resolver, for a bus that has a host name, on a thread that ends with its work.
    fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = T> + Send>> {
        let (answer, wait) = oneshot::channel();
        thread::spawn(move || drop(answer.send(work())));
        Box::pin(async move {
            match wait.await {
                Ok(output) => output,
                // The work has panicked, and the thread's message is printed.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

struct EndsWaits(Arc<Waits>);

impl Drop for EndsWaits {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A connection's socket.
pub(crate) struct Registration {
    waits: EndsWaits,
    jobs: Arc<Jobs>,
    reads: AtomicU32,
    /// The watch has a descriptor of its own for the same socket.
    _source: IoSource,
}

impl PollIo for Registration {
    fn poll_io<T>(
        &self,
        poller: &mut Poller<'_>,
        interest: Interest,
        mut operation: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let interest = if interest == Interest::Writable { net::Interest::Write } else { net::Interest::Read };
        if interest == net::Interest::Read {
            let is_held = || self.waits.0.holds_for_write(poller) || !self.jobs.takes_leave(poller);
            if self.jobs.is_crowded() && is_held() {
                return Poll::Pending;
            }
            if self.reads.fetch_add(1, Ordering::Relaxed) % TURN == TURN - 1 {
                poller.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        loop {
            match operation() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(_) if interest == net::Interest::Read && !self.jobs.may_go_on() => {
                    let error = "the bus says too much before it lets anyone in";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                result => return Poll::Ready(result),
            }
            return if self.waits.0.wait(interest, poller) {
                Poll::Pending
            } else {
                Poll::Ready(Err(LoopRuntime::has_ended()))
            };
        }
    }
}

pub(crate) struct Sleep(oneshot::Receiver<()>);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<()> {
        // The task's timers end with it: a future that waits for one still continues, to an error.
        Pin::new(&mut self.0).poll(poller).map(|_| ())
    }
}

/// Uncounts a detached task when it is dropped, on any thread.
struct Counted(Arc<AtomicBool>, Arc<Jobs>, Era);

impl Drop for Counted {
    fn drop(&mut self) {
        // The second of the two, this or the detaching, sees the other's mark.
        if self.0.swap(true, Ordering::AcqRel) {
            self.1.uncount_detached(self.2);
        }
    }
}

pub(crate) struct Task<T> {
    wait: oneshot::Receiver<T>,
    is_detached: Arc<AtomicBool>,
    jobs: Arc<Jobs>,
    era: Era,
}

impl<T> Future for Task<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<io::Result<T>> {
        Pin::new(&mut self.wait).poll(poller).map(|output| output.map_err(|_| LoopRuntime::has_ended()))
    }
}

impl<T: Send + 'static> TaskHandle<T> for Task<T> {
    fn detach(self) {
        self.jobs.count_detached(self.era);
        if self.is_detached.swap(true, Ordering::AcqRel) {
            // It is over.
            self.jobs.uncount_detached(self.era);
        }
    }
}
