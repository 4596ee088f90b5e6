//! async-std, which is discontinued (RUSTSEC-2025-0052), as an event loop of Interloop: a bridge for leaving it. Its
//! successor is smol.
//!
//! [`AsyncStd`] runs [`async_std::task::block_on`] on a thread of its own, so that all of async-std works in its tasks.
//! Tasks stay on that thread and may be `!Send`; futures given to [`Context::spawn`](interloop::Context::spawn) go to
//! async-std's global pool.
//!
//! ```
//! use std::time::Duration;
//! use async_std::{io::{ReadExt, WriteExt}, net::{TcpListener, TcpStream}, task};
//! use interloop::{Service, task_fn};
//! use interloop_async_std::{AsyncStd, async_std};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut service = Service::new("greeter");
//! let async_std = service.remote_to::<AsyncStd>();
//! service.task("listen", task_fn::<AsyncStd>(async |cx| {
//!     let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
//!     cx.export("address", listener.local_addr()?);
//!     let greet = task::spawn(async move {
//!         while let Ok((mut stream, _)) = listener.accept().await {
//!             let _ = stream.write_all(b"hello").await;
//!         }
//!     });
//!     cx.until_shutdown().await;
//!     greet.cancel().await;
//!     Ok(())
//! }));
//!
//! let running = service.start()?;
//! assert!(running.wait_started_timeout(Duration::from_secs(10)));
//! let address = running.status().tasks[0].exports["address"].clone();
//! // From any thread: a closure, or a future, that runs on the loop's.
//! let greeting = async_std.spawn(|_| async move {
//!     let mut text = String::new();
//!     TcpStream::connect(address).await?.read_to_string(&mut text).await?;
//!     std::io::Result::Ok(text)
//! });
//! assert_eq!(greeting.wait_timeout(Duration::from_secs(10))??, "hello");
//! assert_eq!(running.stop().code, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Limits
//!
//! async-std's threads belong to the process and never end: see the README. A bare `async_std::task::spawn` doesn't
//! belong to a task, so neither the task's deadline nor its failure handling applies to it; no service stops it.

#![forbid(unsafe_code)]

use std::{future::Future, io, os::fd::OwnedFd, time::Duration};

use async_std::task;
use interloop::{
    EventLoop, NoOptions, Result,
    event_loop::{Mailbox, Timers},
    net::{Address, Bound, Net, Socket, SocketRef, Watch, WatchFd},
};
use interloop_async_io::{AsyncIoListener, AsyncIoStream, AsyncIoWatch, async_io::Timer};

pub use async_std;

/// async-std on a thread of its own.
///
/// The loop's name is `async-std`. See the [crate's documentation](crate).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AsyncStd {}

impl EventLoop for AsyncStd {
    const NAME: &'static str = "async-std";
    type Options = NoOptions;
    /// This is empty: all of async-std is functions.
    type Native = ();

    fn drive(self, _: NoOptions, mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        interloop_async_io::start();
        // Futures stay in the mailbox: async-std's own `spawn_local` is not part of its stable interface.
        mailbox.set_workers(|future| drop(task::spawn(future)));
        started(&mailbox, ());
        task::block_on(mailbox.drive(task::yield_now));
        Ok(())
    }
}

impl Timers for AsyncStd {
    fn sleep((): &(), duration: Duration) -> impl Future<Output = ()> + 'static {
        let timer = Timer::after(duration);
        async {
            timer.await;
        }
    }
}

impl Net for AsyncStd {
    type Stream = AsyncIoStream;
    type Listener = AsyncIoListener;

    fn listener((): &(), socket: Bound) -> io::Result<AsyncIoListener> {
        AsyncIoListener::new(socket)
    }

    fn stream((): &(), socket: Socket) -> io::Result<AsyncIoStream> {
        AsyncIoStream::new(socket)
    }

    fn connect((): &(), address: Address) -> impl Future<Output = io::Result<AsyncIoStream>> + 'static {
        AsyncIoStream::connect(address)
    }

    fn socket(stream: &AsyncIoStream) -> SocketRef<'_> {
        stream.into()
    }

    fn watch_boxed((): &(), fd: OwnedFd) -> io::Result<Box<dyn Watch>> {
        Ok(Box::new(Self::watch(&(), fd)?))
    }
}

impl WatchFd for AsyncStd {
    type Watch = AsyncIoWatch;

    fn watch((): &(), fd: OwnedFd) -> io::Result<AsyncIoWatch> {
        AsyncIoWatch::new(fd)
    }
}

/// The README's program compiles.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
