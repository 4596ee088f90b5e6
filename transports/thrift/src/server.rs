//! The server: a task that listens, hands connections out, and sees them to their end.

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
    tasks::Workers,
};
use interloop_listen::{Addresses, Place, QUEUED, Rests, Seats, is_of_one_client, poll_in_turn};
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

/// A Thrift server: a task that has a processor of generated code answer calls, framed or not, by the binary or the compact protocol, as the first bytes of
/// each connection and each message say.
///
/// It runs on any loop with sockets. Handlers are called on the loop's thread, and what they block, they block for all; with
/// [`workers`](Self::workers) they are called on threads of the task's own. One connection's calls are answered in turn.
///
/// It is ready when it listens, and logs `server started on 127.0.0.1:9090` for each address. Asked to stop, it stops listening, answers the calls that are
/// open or have come, closes idle connections at once, gives one with half a call a second, and ends when the last connection has, or when its stop
/// timeout cancels it.
///
/// What a client sends is walked over before anything is decoded: a message that is malformed, or goes beyond a limit, is answered with a
/// `TApplicationException` of the kind `PROTOCOL_ERROR`, where its protocol is known, and the connection is closed. A handler's panic is logged, counted and
/// answered with `INTERNAL_ERROR`, and nothing else.
///
/// What is set here are defaults: the options `--{task}-host`, `--{task}-port` ... go before. Counters: `calls`, `errors` and `exceptions` by `method`,
/// `unknown_methods`, `bad_messages`, `slow_clients`, `panics`, `connections`, `received_bytes`, `sent_bytes`, and with TLS `tls_handshakes`, `tls_handshake_failures`; gauges: `open_connections`; samples: `call_duration` by `method`
/// (feature `metrics`), from a whole call to its answer, in seconds. Exported: `address`.
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
    code: ThriftOptions,
    addresses: Addresses,
}

/// Where the processor comes from.
enum Source {
    Shared(Arc<dyn TProcessor + Send + Sync>),
    /// Made on the loop, once.
    Local(Option<Box<dyn FnOnce() -> Rc<dyn TProcessor> + Send>>),
}

impl ThriftServer {
    /// Has this processor answer the calls: one that was generated, around a handler, or a [`Multiplexed`](crate::Multiplexed) of several.
    ///
    /// It listens on 127.0.0.1, on any free port, unless it is told otherwise.
    pub fn new(processor: impl TProcessor + Send + Sync + 'static) -> Self {
        Self::from(Source::Shared(Arc::new(processor)))
    }

    /// As [`new`](Self::new), with a processor that is made on the loop's thread and stays there: it may be `!Send`. It can have no workers.
    pub fn with<P: TProcessor + 'static>(make: impl FnOnce() -> P + Send + 'static) -> Self {
        Self::from(Source::Local(Some(Box::new(|| Rc::new(make())))))
    }

    fn from(source: Source) -> Self {
        Self { source, code: ThriftOptions::default(), addresses: Addresses::default() }
    }

    /// Listens on this address or host name, besides others that were named. `::` and `0.0.0.0` can be had side by side.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.code.listen.host.push(host.into());
        self
    }

    /// Listens on this port, at all hosts; 0 is any one that is free at all of them.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.code.listen.port = Some(port);
        self
    }

    /// Listens on a Unix socket. Where neither a host nor a port is named, only there.
    ///
    /// A socket that a dead process has left at this path is replaced; one that somebody listens on is an error.
    #[must_use]
    pub fn unix(mut self, path: impl Into<PathBuf>) -> Self {
        self.code.listen.unix = Some(path.into());
        self
    }

    /// The permissions of the Unix socket: `0o660` by default.
    #[must_use]
    pub fn unix_mode(mut self, mode: u32) -> Self {
        self.code.listen.unix_mode = Some(mode);
        self
    }

    /// The group of the Unix socket, by name or number.
    #[must_use]
    pub fn unix_group(mut self, group: impl Into<String>) -> Self {
        self.code.listen.unix_group = Some(group.into());
        self
    }

    /// Calls handlers on so many threads, named `{task}-1`, `{task}-2` ..., where they may block. 0, the default, is on the loop's thread.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.code.workers = Some(workers);
        self
    }

    /// How many connections are served at once; further ones wait in the system's queue. 0 is any number, the default.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.code.listen.max_connections = Some(connections);
        self
    }

    /// How long a frame may be, or a message that is not framed, in bytes: 16 MiB by default.
    #[must_use]
    pub fn max_frame_size(mut self, bytes: usize) -> Self {
        self.code.max_frame_size = Some(bytes);
        self
    }

    /// How long a string may be, in bytes: as long as a frame by default.
    #[must_use]
    pub fn max_string_size(mut self, bytes: usize) -> Self {
        self.code.max_string_size = Some(bytes);
        self
    }

    /// How many elements a list, a set or a map may have: a million by default. An element that is one byte in the frame may be a struct of hundreds in memory.
    #[must_use]
    pub fn max_container_size(mut self, elements: usize) -> Self {
        self.code.max_container_size = Some(elements);
        self
    }

    /// How deep structs and containers may be nested, the arguments of the method being the first: 64 by default. Decoding needs stack for each.
    #[must_use]
    pub fn max_nesting(mut self, levels: usize) -> Self {
        self.code.max_nesting = Some(levels);
        self
    }

    /// How long a connection may stand idle between two calls: 10 min by default, zero is for ever. It also bounds how far a client may fall behind the
    /// [least rate](Self::min_rate).
    #[must_use]
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.code.idle_timeout = Some(time);
        self
    }

    /// The least rate, in bytes a second, at which a client sends the rest of a call it has begun, and takes an answer: 500 by default; 0 asks only for some
    /// progress. A client may fall behind by the [grace](Self::rate_grace); what it sends or takes faster makes up for that. Only the time that the server
    /// waits counts.
    #[must_use]
    pub fn min_rate(mut self, bytes: usize) -> Self {
        self.code.listen.min_rate = Some(bytes);
        self
    }

    /// How far a client may fall behind the [least rate](Self::min_rate): 20 s by default, zero is any time.
    #[must_use]
    pub fn rate_grace(mut self, time: Duration) -> Self {
        self.code.listen.rate_grace = Some(time);
        self
    }

    /// After how long a silence the system asks the client's whether it is still there (TCP keep-alive): 60 s by default, to the second, zero is never. A client
    /// that hasn't answered after twice the time is gone.
    #[must_use]
    pub fn tcp_keepalive(mut self, time: Duration) -> Self {
        self.code.listen.tcp_keepalive = Some(time);
        self
    }

    /// How long a client may take to send a call, from its first byte to its last: 30 s by default, zero is for ever.
    #[must_use]
    pub fn read_timeout(mut self, time: Duration) -> Self {
        self.code.read_timeout = Some(time);
        self
    }

    /// Speaks TLS, 1.2 and 1.3, with the certificate in this PEM file, those between it and its CA after it, and its private key in another. They are read
    /// again when the service [reloads](interloop::ServiceHandle::reload): for new connections, if they are right, else the reload is refused.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.code.tls.tls_cert = Some(cert.into());
        self.code.tls.tls_key = Some(key.into());
        self
    }

    /// Serves only clients with a certificate of one of the CAs in this PEM file.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_client_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.code.tls.tls_client_ca = Some(path.into());
        self
    }

    /// How long a client may take for the TLS handshake, from the start of the connection: 10 s by default, zero is for ever.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_handshake_timeout(mut self, time: Duration) -> Self {
        self.code.tls.tls_handshake_timeout = Some(time);
        self
    }

    /// How many TLS handshakes are worked on at once, each from its client's first message; further ones wait, within their time: 1000 by default, 0 is any
    /// number.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_max_handshakes(mut self, handshakes: usize) -> Self {
        self.code.tls.tls_max_handshakes = Some(handshakes);
        self
    }

    /// Where it listens, known once it does: for any thread, to be asked for before the server is given to the service.
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Makes these the server's [`addresses`](Self::addresses): for a server that is made anew for each incarnation.
    #[must_use]
    pub fn announce_to(mut self, addresses: Addresses) -> Self {
        self.addresses = addresses;
        self
    }

    /// [`Task::check`] for such a task: whether the files that these options, or the code, name for TLS will do.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn check(&self, options: &ThriftOptions) -> Result {
        #[cfg(feature = "tls")]
        options.tls.check(&self.code.tls)?;
        let _ = options;
        Ok(())
    }

    /// How many workers it has with these options; 0 is on the loop.
    pub fn worker_count(&self, options: &ThriftOptions) -> usize {
        Settings::new(options, &self.code).workers
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

    fn check(&self, options: &ThriftOptions) -> Result {
        self.check(options)
    }
}

impl ThriftServer {
    /// Serves as a part of another task, whose options have those of the server [in them](interloop::clap::Args): what `run` is to this one. Once.
    ///
    /// # Errors
    ///
    /// It can't listen, or there can be no workers.
    ///
    /// # Cancel safety
    ///
    /// To drop it is to end the server; its connections are children of the task.
    pub async fn serve<L: Net, O: 'static>(&mut self, cx: &Context<L, O>, options: &ThriftOptions) -> Result {
        // Also when this future is dropped.
        let _announced = self.addresses.until_dropped();
        #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "there is nothing to add"))]
        let mut settings = Settings::new(options, &self.code);
        #[cfg(feature = "tls")]
        {
            settings.tls = options.tls.settings(&self.code.tls)?;
        }
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
        f.debug_struct("ThriftServer").field("code", &self.code).finish_non_exhaustive()
    }
}

async fn serve<L: Net, O: 'static>(
    cx: &Context<L, O>,
    settings: &Settings,
    server: Rc<Server>,
    addresses: &Addresses,
) -> Result {
    let place = &settings.place;
    let seats = Seats::new(place.connections, server.counts.open_connections.clone());
    #[cfg(feature = "tls")]
    let tls = secure::open(cx, settings.tls.as_ref())?;
    let mut listeners = listen(cx, place, addresses).await?;
    let spawn = |(stream, peer): (L::Stream, Address)| {
        server.counts.connections.add(1);
        let seat = seats.take();
        #[cfg(feature = "tls")]
        if let Some(tls) = &tls {
            cx.spawn_local(secure::serve::<L>(tls.acceptor(), stream, peer, server.clone(), seat)).detach();
            return;
        }
        cx.spawn_local(connection::serve::<L>(Stream::Plain(stream), peer, server.clone(), seat)).detach();
    };

    let mut stop = pin!(cx.until_shutdown());
    let mut rests = Rests::default();
    loop {
        let next = poll_fn(|poller| {
            if stop.as_mut().poll(poller).is_ready() {
                return Poll::Ready(None);
            }
            if seats.poll_free(poller).is_pending() {
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

    // Who has connected already is in; who comes now is refused. More than these can't have waited.
    for listener in &listeners {
        for _ in 0..QUEUED {
            if !seats.are_free() {
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
    poll_fn(|poller| seats.poll_empty(poller)).await;
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

/// A listening socket, in the loop, and once more for a look at it that the loop knows nothing of.
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
        };
        Ok(Self { listener: cx.listen(socket)?, direct })
    }

    /// A connection that is there already, whether the loop has noticed or not.
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
