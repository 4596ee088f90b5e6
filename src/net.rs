//! Sockets and readiness, the same on every loop, for tasks that run on any loop.
//!
//! A loop with sockets is a [`Net`]. Runtimes with their own sockets implement it natively. Any other loop that can
//! watch one descriptor gets it from the core's [`Reactor`]: its adapter calls
//! [`Mailbox::set_reactor`](crate::event_loop::Mailbox::set_reactor), and is a [`ReactorLoop`]. The API for
//! descriptors, and so for Unix, is separate: a loop that watches any descriptor is a [`WatchFd`] too, and Unix sockets
//! exist only on Unix.
//!
//! Streams are those of futures-io: [`AsyncRead`] and [`AsyncWrite`]. Listening sockets are bound here for all loops,
//! so errors, the modes of Unix sockets and stale files are handled the same everywhere: see [`Bound`].
//!
//! ```
//! use std::time::Duration;
//! use futures_util::{AsyncReadExt, AsyncWriteExt};
//! use interloop::{Context, NoOptions, Result, Service, Task, Thread, net::{Accept, Bound, Net}};
//!
//! /// Answers each client with what it says, on any loop.
//! struct Echo;
//!
//! impl<L: Net> Task<L> for Echo {
//!     type Options = NoOptions;
//!
//!     async fn run(&mut self, cx: Context<L>) -> Result {
//!         let mut listener = cx.listen(Bound::tcp("127.0.0.1:0".parse()?)?)?;
//!         cx.bound(listener.address().clone());
//!         let accept = async {
//!             loop {
//!                 let (mut stream, _) = listener.accept().await?;
//!                 let echo = async move {
//!                     let mut text = [0; 1024];
//!                     while let Ok(length @ 1..) = stream.read(&mut text).await {
//!                         if stream.write_all(&text[..length]).await.is_err() {
//!                             break;
//!                         }
//!                     }
//!                 };
//!                 cx.spawn_local(echo).detach();
//!             }
//!         };
//!         let mut accept = std::pin::pin!(accept);
//!         let mut stop = std::pin::pin!(cx.until_shutdown());
//!         std::future::poll_fn(|cx| {
//!             use std::{future::Future, task::Poll};
//!             if stop.as_mut().poll(cx).is_ready() { Poll::Ready(Ok(())) } else { accept.as_mut().poll(cx) }
//!         })
//!         .await
//!     }
//! }
//!
//! # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! let mut service = Service::new("echo");
//! service.task_on::<Thread>("echo", Echo);
//! let running = service.start()?;
//! assert!(running.wait_started_timeout(Duration::from_secs(10)));
//! let address = running.addresses("echo")?[0].tcp().expect("it listens");
//! let mut client = std::net::TcpStream::connect(address)?;
//! std::io::Write::write_all(&mut client, b"hello")?;
//! let mut answer = [0; 5];
//! std::io::Read::read_exact(&mut client, &mut answer)?;
//! assert_eq!(&answer, b"hello");
//! assert_eq!(running.stop().code, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Inherited sockets
//!
//! A service manager may listen for a service, and pass it the listening sockets when it starts: no client is refused
//! while the service is down, and the first one can start it. [`Service::run`](crate::Service::run) reads
//! `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` as `sd_listen_fds(3)` describes them. Any parent may also leave a
//! descriptor open, and pass its number as an option. Which task gets a socket:
//!
//! 1. A task with an option of the type [`Inherited`] is a server; those of Interloop's transports have
//!    `--{task}-listen`. It gets what the option names, from any place of options: `fd:web`, `fd:3`.
//! 2. A server that names none gets the sockets with the name of its task.
//! 3. If there is one server, which names none, and one socket (or several with one name), the server gets it.
//!
//! [`Context::inherited`](crate::Context::inherited) returns a task's sockets. The log has a line on each. They don't
//! block, are closed at exec, and the files of Unix sockets are never removed. They belong to the first service that
//! runs as the process; a service that is [started](crate::Service::start) inside another program has none. Linux only.
//!
//! | startup fails with one line and exit code 78 | it goes on with a warning, and closes the socket |
//! |---|---|
//! | no task takes a descriptor; two tasks name it | it is of a server that `--tasks` leaves out |
//! | an option names one that wasn't passed | the service has stored it with its manager, and no task takes it |
//! | it isn't open, no stream socket, or doesn't listen | |
//! | `LISTEN_FDS` is no number; `LISTEN_FDNAMES` has more or fewer names | |
//!
//! If `LISTEN_PID` is another process, nothing was passed. `--dry-run` looks at no descriptor. Descriptors that the
//! program itself has taken before `run` (marked to be closed at exec) are left to it.
//!
//! May use: words, reactor, inherited, event_loop.

mod loops;

pub use futures_io::{AsyncRead, AsyncWrite};

pub use self::loops::Net;
#[cfg(target_os = "linux")]
pub use self::loops::ReactorLoop;
#[cfg(unix)]
pub use self::loops::WatchFd;
#[cfg(unix)]
pub use crate::reactor::{bind::SocketFile, traits::Watch};
#[cfg(target_os = "linux")]
pub use crate::reactor::{
    epoll::{Reactor, ReactorThread, ReactorWaker, Sleep},
    sockets::{ReactorListener, ReactorStream},
    source::ReactorWatch,
};
pub use crate::{
    inherited::{Inherited, ParseInheritedError},
    reactor::{
        bind::{Bound, CantListen},
        socket_ref::SocketRef,
        traits::{Accept, Interest, Socket},
    },
    words::address::{Address, ParseAddressError},
};
