//! The server: a task that listens, hands connections out, and serves them to their end.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    net::TcpListener,
    os::unix::net::UnixListener,
    path::PathBuf,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use interloop::{
    Context, Error, Result, Task,
    net::{Accept, Address, Bound, Net, Socket},
    options::OptionDefaults,
    tasks::Workers,
};
use interloop_listen::{Addresses, Listen, Permits, Place, QUEUED, Rests, is_of_one_client, poll_in_turn};
use thrift::server::TProcessor;

#[cfg(feature = "tls")]
use crate::secure;
use crate::{
    connection,
    counts::Counts,
    options::ThriftOptions,
    processing::{Oneways, Processor},
    settings::Settings,
    shared::Server,
    stream::Stream,
};

/// A Thrift server: a task whose generated processor answers calls, framed or not, in the binary or the compact
/// protocol. The first bytes of each connection and each message determine which.
///
/// It runs on any loop with sockets. Handlers are called on the loop's thread, and a handler that blocks it blocks
/// everything there; with [`workers`](Self::workers) they are called on threads of the task's own. Calls on one
/// connection are answered in order.
///
/// It is ready when it listens, and logs `server started on 127.0.0.1:9090` for each address. When asked to stop, it
/// stops listening, answers the calls that are open or have come, and closes idle connections at once. A connection
/// with an incomplete call gets one second. The server ends when the last connection has ended, or when its stop
/// timeout cancels it.
///
/// Each message is validated before anything is decoded: if it is malformed or exceeds a limit, the answer is a
/// `TApplicationException` of the kind `PROTOCOL_ERROR`, provided its protocol is known, and the connection is closed.
/// A handler's panic is logged, counted and answered with `INTERNAL_ERROR`, and has no other effect.
///
/// The values set in code are defaults: the options `--{task}-host`, `--{task}-port` ... take precedence. Counters:
/// `calls`, `errors` and `exceptions` by `method`, `unknown_methods`, `bad_messages`, `times_full`, `slow_clients`, `panics`,
/// `connections`, `received_bytes`, `sent_bytes`, and with TLS `tls_handshakes`, `tls_handshake_failures`; gauges:
/// `open_connections`; histogram: `call_duration` by `method` (feature `metrics`), from a whole call to its answer, in
/// seconds. Exported: `address`.
///
/// ```no_run
/// use std::{cell::Cell, rc::Rc};
///
/// use interloop::{Service, Thread};
/// use interloop_thrift::ThriftServer;
/// # use thrift::{protocol::{TInputProtocol, TOutputProtocol}, server::TProcessor};
/// # struct CalculatorSyncProcessor<H>(H);
/// # impl<H> CalculatorSyncProcessor<H> { fn new(handler: H) -> Self { Self(handler) } }
/// # impl<H> TProcessor for CalculatorSyncProcessor<H> {
/// #     fn process(&self, _: &mut dyn TInputProtocol, _: &mut dyn TOutputProtocol) -> thrift::Result<()> { Ok(()) }
/// # }
///
/// struct Calculator; // it implements the generated CalculatorSyncHandler
/// struct Counting(Rc<Cell<u64>>); // so does this, on one thread
///
/// let mut service = Service::new("sums");
/// service.task_on::<Thread>("thrift", ThriftServer::new(CalculatorSyncProcessor::new(Calculator)).port(9090));
/// service.task_on::<Thread>("local", ThriftServer::with(|| CalculatorSyncProcessor::new(Counting(Rc::default()))));
/// service.run();
/// ```
pub struct ThriftServer {
    source: Source,
    listen: Listen,
    code: ThriftOptions,
    addresses: Addresses,
}

/// Where the processor comes from.
enum Source {
    Shared(Arc<dyn TProcessor + Send + Sync>),
    /// Created on the loop, once.
    Local(Option<Box<dyn FnOnce() -> Rc<dyn TProcessor> + Send>>),
}

impl ThriftServer {
    /// Answers the calls with this processor: a generated one around a handler, or a
    /// [`Multiplexed`](crate::Multiplexed) of several.
    ///
    /// It listens on 127.0.0.1, on any free port, unless told otherwise.
    pub fn new(processor: impl TProcessor + Send + Sync + 'static) -> Self {
        Self::from(Source::Shared(Arc::new(processor)))
    }

    /// Works as [`new`](Self::new), with a processor that is created on the loop's thread and stays there: it may be
    /// `!Send`. It can't have workers.
    pub fn with<P: TProcessor + 'static>(make: impl FnOnce() -> P + Send + 'static) -> Self {
        Self::from(Source::Local(Some(Box::new(|| Rc::new(make())))))
    }

    fn from(source: Source) -> Self {
        Self { source, listen: Listen::new(), code: ThriftOptions::default(), addresses: Addresses::default() }
    }

    /// Sets how it listens. Several calls are merged: hosts and listeners are added, and all else overrides earlier
    /// values. A `TcpListener` or a `UnixListener` of std works, too: see
    /// [`Listen`](Listen#sockets-that-are-bound-already).
    #[must_use]
    pub fn listen(mut self, listen: impl Into<Listen>) -> Self {
        self.listen.merge(listen.into());
        self
    }

    interloop_listen::listen_setters!();

    /// Calls handlers on this many threads, named `{task}-1`, `{task}-2` ..., where they may block. 0, the default,
    /// calls them on the loop's thread.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.code.workers = Some(workers);
        self
    }

    /// Sets the maximum length of a frame, or of an unframed message, in bytes: 16 MiB by default.
    #[must_use]
    pub fn max_frame_size(mut self, bytes: usize) -> Self {
        self.code.max_frame_size = Some(bytes);
        self
    }

    /// Sets the maximum length of a string, in bytes: that of a frame by default.
    #[must_use]
    pub fn max_string_size(mut self, bytes: usize) -> Self {
        self.code.max_string_size = Some(bytes);
        self
    }

    /// Sets how many elements a list, a set or a map may have: a million by default. An element that takes one byte in
    /// the frame may be a struct of hundreds of bytes in memory.
    #[must_use]
    pub fn max_container_size(mut self, elements: usize) -> Self {
        self.code.max_container_size = Some(elements);
        self
    }

    /// Sets how deep structs and containers may be nested, the arguments of the method being the first level: 64 by
    /// default. Decoding needs stack for each level.
    #[must_use]
    pub fn max_nesting(mut self, levels: usize) -> Self {
        self.code.max_nesting = Some(levels);
        self
    }

    /// Sets how long a connection may be idle between two calls: 10 min by default, zero is no limit. It also bounds
    /// how far a client may fall behind the [minimum rate](Listen::min_rate).
    #[must_use]
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.code.idle_timeout = Some(time);
        self
    }

    /// Sets how long a client may take to send a call, from its first byte to its last: 30 s by default, zero is no
    /// limit.
    #[must_use]
    pub fn read_timeout(mut self, time: Duration) -> Self {
        self.code.read_timeout = Some(time);
        self
    }

    /// Returns the addresses it listens on, known once it does. They are usable from any thread; call this before the
    /// server is given to the service.
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Makes these the server's [`addresses`](Self::addresses): for a server that is recreated for each incarnation.
    #[must_use]
    pub fn announce_to(mut self, addresses: Addresses) -> Self {
        self.addresses = addresses;
        self
    }

    /// Returns what [`Task::defaults`] of such a task must contain: the values that the code has set for these options.
    pub fn defaults(&self) -> OptionDefaults {
        self.listen.defaults(cfg!(feature = "tls")).and(self.code.defaults())
    }

    /// Checks the TLS files that these options or the code name, for [`Task::check`] of such a task.
    ///
    /// # Errors
    ///
    /// Returns what is wrong.
    pub fn check(&self, options: &ThriftOptions) -> Result {
        #[cfg(feature = "tls")]
        return self.listen.check_tls(&options.tls);
        #[cfg(not(feature = "tls"))]
        {
            let _ = options;
            self.listen.check_without_tls()
        }
    }

    /// Returns how many workers it has with these options; 0 means the loop's thread.
    pub fn worker_count(&self, options: &ThriftOptions) -> usize {
        Settings::workers(options, &self.code)
    }

    fn processor(&mut self) -> Processor {
        match &mut self.source {
            Source::Shared(processor) => Processor::Shared(processor.clone()),
            Source::Local(make) => Processor::Local(make.take().expect("a task value runs once")()),
        }
    }
}

impl<L: Net> Task<L> for ThriftServer {
    type Options = ThriftOptions;

    async fn run(&mut self, cx: Context<L, ThriftOptions>) -> Result {
        self.serve(&cx, cx.options()).await
    }

    fn defaults(&self) -> OptionDefaults {
        self.defaults()
    }

    fn check(&self, options: &ThriftOptions) -> Result {
        self.check(options)
    }
}

impl ThriftServer {
    /// Serves as a part of another task, whose options [contain](interloop::clap::Args) those of the server: the
    /// equivalent of `run`. It must be called only once.
    ///
    /// # Errors
    ///
    /// Returns an error if it can't listen, or can't have workers.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the server; its connections are children of the task.
    pub async fn serve<L: Net, O: 'static>(&mut self, cx: &Context<L, O>, options: &ThriftOptions) -> Result {
        // Also when this future is dropped.
        let _announced = self.addresses.until_dropped();
        let settings = Settings::new(options, &self.code, &self.listen)?;
        let processor = self.processor();
        let workers = match (&processor, settings.workers) {
            (_, 0) => None,
            (Processor::Shared(_), count) => Some(Workers::start(cx, count)?),
            (Processor::Local(_), _) => {
                return Err(Error::new("there can be no workers: the processor stays on the loop's thread"));
            }
        };
        let server = Rc::new(Server {
            target: cx.target().to_owned(),
            shutdown: cx.shutdown(),
            processor,
            workers,
            limits: settings.limits,
            times: settings.times,
            counts: Counts::new(cx),
            oneways: Oneways::default(),
            sleep: {
                let cx = cx.clone();
                Box::new(move |time| Box::pin(cx.sleep(time)))
            },
        });
        serve(cx, &settings, server, &self.addresses).await
    }
}

impl Drop for ThriftServer {
    fn drop(&mut self) {
        // It may never have been started.
        self.addresses.set_ended();
    }
}

impl fmt::Debug for ThriftServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThriftServer").field("listen", &self.listen).field("code", &self.code).finish_non_exhaustive()
    }
}

async fn serve<L: Net, O: 'static>(
    cx: &Context<L, O>,
    settings: &Settings,
    server: Rc<Server>,
    addresses: &Addresses,
) -> Result {
    let place = &settings.place;
    let permits = Permits::new(place.connections, server.counts.open_connections.clone())
        .tell_full(cx.target(), server.counts.times_full.clone());
    #[cfg(feature = "tls")]
    let tls = secure::open(cx, settings.tls.as_ref())?;
    let mut listeners = listen(cx, place, addresses).await?;
    let spawn = |(stream, peer): (L::Stream, Address)| {
        server.counts.connections.add(1);
        let permit = permits.take();
        #[cfg(feature = "tls")]
        if let Some(tls) = &tls {
            cx.spawn_local(secure::serve::<L>(tls.acceptor(), stream, peer, server.clone(), permit)).detach();
            return;
        }
        cx.spawn_local(connection::serve::<L>(Stream::Plain(stream), peer, server.clone(), permit)).detach();
    };

    let mut stop = pin!(cx.until_shutdown());
    let mut rests = Rests::default();
    loop {
        let next = poll_fn(|poller| {
            if stop.as_mut().poll(poller).is_ready() {
                return Poll::Ready(None);
            }
            if permits.poll_free(poller).is_pending() {
                return Poll::Pending;
            }
            poll_in_turn(&mut listeners, |listener| listener.listener.poll_accept(poller)).map(Some)
        });
        match next.await {
            None => break,
            Some(Ok(connection)) => spawn(connection),
            Some(Err(error)) => {
                let Some(rest) = rests.after(&error, cx.target()) else { continue };
                let mut sleep = pin!(cx.sleep(rest));
                poll_fn(|poller| match stop.as_mut().poll(poller) {
                    Poll::Ready(()) => Poll::Ready(()),
                    Poll::Pending => sleep.as_mut().poll(poller),
                })
                .await;
            }
        }
    }

    // Clients that have connected already are accepted; later ones are refused. No more than these can have waited.
    for listener in &listeners {
        for _ in 0..QUEUED {
            if !permits.are_free() {
                break;
            }
            match listener.accept_now(cx) {
                Ok(connection) => spawn(connection),
                Err(error) if is_of_one_client(&error) => {}
                Err(_) => break,
            }
        }
    }
    drop(listeners);
    poll_fn(|poller| permits.poll_empty(poller)).await;
    Ok(())
}

async fn listen<L: Net, O>(cx: &Context<L, O>, place: &Place, addresses: &Addresses) -> Result<Vec<Listener<L>>> {
    let bound = interloop_listen::bind(cx, place).await?;
    let mut listeners = Vec::with_capacity(bound.len());
    let mut known = Vec::with_capacity(bound.len());
    for (socket, address) in bound {
        listeners.push(Listener::new(cx, socket)?);
        known.push(address);
    }
    addresses.announce(cx, known);
    Ok(listeners)
}

/// A listening socket in the loop, and a duplicate for checks that bypass the loop.
struct Listener<L: Net> {
    listener: L::Listener,
    direct: Direct,
}

enum Direct {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl<L: Net> Listener<L> {
    fn new<O>(cx: &Context<L, O>, socket: Bound) -> io::Result<Self> {
        let direct = match &socket {
            Bound::Tcp(listener) => Direct::Tcp(listener.try_clone()?),
            Bound::Unix(listener, _) => Direct::Unix(listener.try_clone()?),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { listener: cx.listen(socket)?, direct })
    }

    /// Accepts a connection that is established already, whether the loop has noticed or not.
    fn accept_now<O>(&self, cx: &Context<L, O>) -> io::Result<(L::Stream, Address)> {
        let (socket, address) = match &self.direct {
            Direct::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                let _ = stream.set_nodelay(true);
                (Socket::from(stream), Address::from(address))
            }
            Direct::Unix(listener) => (Socket::from(listener.accept()?.0), Address::from(PathBuf::new())),
        };
        Ok((cx.stream(socket)?, address))
    }
}
