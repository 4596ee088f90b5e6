//! Generated clients on any loop.
//!
//! Generated code writes a call and reads its answer in one go, and would block the loop in between. So it is called
//! twice: the first time it writes, and finds that there is no answer yet; the second time, once the answer has come,
//! the call it writes is thrown away, and it reads.

use std::{
    cell::RefCell,
    fmt,
    future::{Future, poll_fn},
    io::{self, Read, Write},
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{
    io::{AsyncReadExt, AsyncWriteExt},
    lock::Mutex as Turns,
};
use interloop::{
    Context,
    net::{Address, Net},
};
use thrift::{
    ProtocolErrorKind, TransportErrorKind, new_protocol_error, new_transport_error,
    protocol::TMultiplexedOutputProtocol,
};

#[cfg(feature = "http")]
use crate::http_client;
use crate::{
    awaited::Awaited,
    messages::{Messages, Next},
    stream::Stream,
    walk::Kind,
    wire::{self, Carrier, Input, Output, Wire},
};

const TIMEOUT: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// One connection to a Thrift server, opened when needed, for the generated clients of any number of services. Clones
/// share the connection, which belongs to the loop's thread.
///
/// Calls wait for each other: Thrift answers in order. If the server has closed the connection meanwhile, this is
/// noticed before the next call, and the connection is reopened. A connection that can't be opened is tried again,
/// after 50 ms and then twice as long each time up to 2 s, until the call's time is up. A call that was sent is not
/// sent again. The same holds over HTTP; if the server closes the connection after each answer, each call opens a new
/// one.
///
/// Generated clients write a call and read its answer in one go. Therefore the closure that makes the call is called
/// twice, before and after the answer has come: it must make one call, and pass copies of the arguments. Anything else
/// it does happens twice.
///
/// ```no_run
/// # use thrift::protocol::{TInputProtocol, TOutputProtocol};
/// # struct CalculatorSyncClient<I, O>(I, O);
/// # impl<I: TInputProtocol, O: TOutputProtocol> CalculatorSyncClient<I, O> {
/// #     fn new(input: I, output: O) -> Self { Self(input, output) }
/// #     fn concat(&mut self, words: Vec<String>) -> thrift::Result<String> { Ok(words.concat()) }
/// # }
/// use interloop::{Service, Thread, task_fn};
/// use interloop_thrift::{ThriftClient, Wire};
///
/// let mut service = Service::new("sums");
/// service.task("asks", task_fn::<Thread>(async |cx| {
///     let client = ThriftClient::new(&cx, "127.0.0.1:9090".parse::<std::net::SocketAddr>()?, Wire::framed());
///     let calculator = client.calls(CalculatorSyncClient::new);
///     let words = vec!["on any ".to_owned(), "loop".to_owned()];
///     let text = calculator.call(|calculator| calculator.concat(words.clone())).await?;
///     log::info!("{text}");
///     Ok(())
/// }));
/// service.run();
/// ```
pub struct ThriftClient<L: Net> {
    shared: Rc<Shared<L>>,
    timeout: Duration,
}

struct Shared<L: Net> {
    wire: Wire,
    connect: Box<dyn Fn() -> Boxed<io::Result<Stream<L>>>>,
    sleep: Box<dyn Fn(Duration) -> Boxed<()>>,
    /// Empty during a call: a call that is given up takes the connection with it.
    connection: Turns<Option<Connection<L>>>,
    /// Why there is no connection, while one is being opened.
    trouble: RefCell<Option<io::Error>>,
}

/// A connection, set up for the client's wire format.
enum Connection<L: Net> {
    Direct {
        stream: Stream<L>,
        messages: Messages,
        awaited: Box<Awaited>,
        framed: bool,
    },
    #[cfg(feature = "http")]
    Http {
        stream: http_client::Shared<Stream<L>>,
        http: Box<http_client::Connection<http_client::Shared<Stream<L>>>>,
    },
}

impl<L: Net> ThriftClient<L> {
    /// Creates a client of the server at this address. It connects with the first call.
    pub fn new<O: 'static>(cx: &Context<L, O>, address: impl Into<Address>, wire: Wire) -> Self {
        let (address, connecting) = (address.into(), cx.clone());
        Self::by(cx, wire.to(&address, None), move || {
            let stream = connecting.connect(address.clone());
            Box::pin(async move { Ok(Stream::Plain(stream.await?)) })
        })
    }

    /// Works as [`new`](Self::new), over TLS: the server's certificate must be valid for this host name or IP address,
    /// and from a CA that `tls` trusts.
    ///
    /// ```no_run
    /// # use interloop::{Context, Result, net::Net};
    /// use interloop_thrift::{ThriftClient, TlsConnector, Wire};
    ///
    /// async fn ask<L: Net>(cx: Context<L>) -> Result {
    ///     let address: std::net::SocketAddr = "127.0.0.1:9090".parse()?;
    ///     let tls = TlsConnector::new("/etc/sums/ca.pem")?;
    ///     let client = ThriftClient::with_tls(&cx, address, Wire::framed(), &tls, "sums.example.org");
    ///     Ok(())
    /// }
    /// ```
    #[cfg(feature = "tls")]
    pub fn with_tls<O: 'static>(
        cx: &Context<L, O>,
        address: impl Into<Address>,
        wire: Wire,
        tls: &interloop_listen::TlsConnector,
        name: impl Into<String>,
    ) -> Self {
        let (address, connecting) = (address.into(), cx.clone());
        let (tls, name) = (tls.clone(), Rc::<str>::from(name.into()));
        Self::by(cx, wire.to(&address, Some(&name)), move || {
            let (stream, tls, name) = (connecting.connect(address.clone()), tls.clone(), name.clone());
            Box::pin(async move { Ok(Stream::Tls(Box::new(tls.connect(stream.await?, &name).await?))) })
        })
    }

    fn by<O: 'static>(
        cx: &Context<L, O>,
        wire: Wire,
        connect: impl Fn() -> Boxed<io::Result<Stream<L>>> + 'static,
    ) -> Self {
        let sleep = {
            let cx = cx.clone();
            move |time| Box::pin(cx.sleep(time)) as Boxed<_>
        };
        let shared = Shared {
            wire,
            connect: Box::new(connect),
            sleep: Box::new(sleep),
            connection: Turns::default(),
            trouble: RefCell::default(),
        };
        Self { shared: Rc::new(shared), timeout: TIMEOUT }
    }

    /// Sets how long a call may take, including the wait for its turn and for a connection: 10 s by default.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// Returns the calls of a service: `client.calls(CalculatorSyncClient::new)`.
    pub fn calls<C>(&self, make: impl Fn(Input, Output) -> C + 'static) -> Calls<L, C> {
        Calls { client: self.clone(), make: Rc::new(make) }
    }

    /// Returns the calls of one of several services, by its name at the server: Thrift's multiplexed protocol.
    pub fn calls_of<C>(&self, service: impl Into<String>, make: impl Fn(Input, Output) -> C + 'static) -> Calls<L, C> {
        let service = service.into();
        self.calls(move |input, output| make(input, Box::new(TMultiplexedOutputProtocol::new(&service, output))))
    }

    /// Sends a call, and waits for the answer if there is one.
    async fn exchange(&self, request: Vec<u8>, oneway: bool) -> thrift::Result<Vec<u8>> {
        let shared = &self.shared;
        let exchange = async {
            let mut slot = shared.connection.lock().await;
            let kept = match slot.take() {
                Some(mut connection) => connection.is_open().await.then_some(connection),
                None => None,
            };
            let mut connection = match kept {
                Some(connection) => connection,
                None => shared.connected().await?,
            };
            let answer = connection.exchange(request, oneway, &shared.wire).await?;
            *slot = Some(connection);
            Ok(answer)
        };
        let (mut exchange, mut sleep) = (pin!(exchange), (shared.sleep)(self.timeout));
        poll_fn(|poller| {
            if let Poll::Ready(exchanged) = exchange.as_mut().poll(poller) {
                return Poll::Ready(exchanged);
            }
            sleep.as_mut().poll(poller).map(|()| {
                let text = match shared.trouble.take() {
                    Some(trouble) => format!("no connection within {:?}: {trouble}", self.timeout),
                    None => format!("no answer within {:?}", self.timeout),
                };
                Err(new_transport_error(TransportErrorKind::TimedOut, text))
            })
        })
        .await
    }
}

impl<L: Net> Shared<L> {
    /// Opens a connection. If it can never succeed, this is an error; otherwise it tries again.
    async fn connected(&self) -> thrift::Result<Connection<L>> {
        #[cfg(feature = "http")]
        let target = match &self.wire.carrier {
            Carrier::Http(place) => Some(place.target()?),
            _ => None,
        };
        let mut pause = SHORTEST_PAUSE;
        loop {
            match (self.connect)().await {
                Ok(stream) => {
                    self.trouble.take();
                    #[cfg(feature = "http")]
                    if let Some(target) = target {
                        let stream = http_client::Shared::new(stream);
                        let http = Box::new(http_client::Connection::open(stream.clone(), target).await?);
                        return Ok(Connection::Http { stream, http });
                    }
                    let framed = matches!(self.wire.carrier, Carrier::Framed);
                    let (messages, awaited) = (Messages::new(self.wire.limits), Box::default());
                    return Ok(Connection::Direct { stream, messages, awaited, framed });
                }
                Err(error) => self.trouble.replace(Some(error)),
            };
            (self.sleep)(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }
}

impl<L: Net> Connection<L> {
    /// Returns whether it can take a further call, as far as is known.
    async fn is_open(&mut self) -> bool {
        match self {
            Self::Direct { stream, .. } => poll_fn(|poller| stream.poll_is_open(poller)).await,
            #[cfg(feature = "http")]
            Self::Http { stream, http } => {
                poll_fn(|poller| stream.look(|stream| stream.poll_is_open(poller))).await && http.is_free().await
            }
        }
    }

    async fn exchange(&mut self, request: Vec<u8>, oneway: bool, wire: &Wire) -> thrift::Result<Vec<u8>> {
        match self {
            Self::Direct { stream, messages, awaited, framed } => {
                awaited.sent(wire.protocol, &request);
                let Some(request) = wire::frame(request, *framed) else {
                    let why = "a call is longer than a frame can be";
                    return Err(new_transport_error(TransportErrorKind::SizeLimit, why));
                };
                stream.write_all(&request).await?;
                stream.flush().await?;
                if oneway { Ok(Vec::new()) } else { receive(stream, messages, awaited).await }
            }
            #[cfg(feature = "http")]
            Self::Http { http, .. } => Ok(http.post(request, oneway, &wire.limits).await?),
        }
    }
}

async fn receive<L: Net>(
    stream: &mut Stream<L>,
    messages: &mut Messages,
    awaited: &mut Awaited,
) -> thrift::Result<Vec<u8>> {
    let mut piece = vec![0; 16 << 10];
    loop {
        match messages.next() {
            Next::Message(message) if matches!(message.header.kind, Kind::Reply | Kind::Exception) => {
                let stray = awaited.is_stray(&messages.method(&message));
                let bytes = (!stray).then(|| messages.bytes(&message).to_vec());
                messages.advance(&message);
                if let Some(bytes) = bytes {
                    return Ok(bytes);
                }
            }
            Next::Message(_) => {
                return Err(new_protocol_error(ProtocolErrorKind::InvalidData, "a call instead of an answer"));
            }
            Next::Bad(bad) => {
                return Err(new_protocol_error(ProtocolErrorKind::InvalidData, bad.fault.to_string()));
            }
            Next::More => match stream.read(&mut piece).await? {
                0 => return Err(new_transport_error(TransportErrorKind::EndOfFile, "closed before the answer")),
                length => messages.push(&piece[..length]),
            },
        }
    }
}

impl<L: Net> Clone for ThriftClient<L> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), timeout: self.timeout }
    }
}

impl<L: Net> fmt::Debug for ThriftClient<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThriftClient").field("wire", &self.shared.wire).field("timeout", &self.timeout).finish()
    }
}

/// The calls of one service, by its generated client: see [`ThriftClient`].
pub struct Calls<L: Net, C> {
    client: ThriftClient<L>,
    make: Rc<dyn Fn(Input, Output) -> C>,
}

impl<L: Net, C> Calls<L, C> {
    /// Returns the same calls with another limit to how long a call may take.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.client.timeout = time;
        self
    }

    /// Makes one call: the closure calls one method of the client, and is itself called twice, once to write the call
    /// and once to read its answer. For a oneway method it is called once.
    ///
    /// # Errors
    ///
    /// Returns the error of the generated client: the method's exceptions as `Error::User`, those of the server as
    /// `Error::Application`; `Error::Transport` if there is no connection, or no answer in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the call, and with it the connection, if the call was sent. The server may carry it
    /// out.
    pub async fn call<R>(&self, mut call: impl FnMut(&mut C) -> thrift::Result<R>) -> thrift::Result<R> {
        let Wire { protocol, limits, .. } = self.client.shared.wire;
        let (request, asked) = (Sent::default(), Arc::new(AtomicBool::new(false)));
        let first = {
            let input = wire::input(protocol, NoAnswerYet(asked.clone()), limits.message, &limits);
            let output = wire::output(protocol, request.clone());
            call(&mut (self.make)(input, output))
        };
        let (request, oneway) = (request.take(), !asked.load(Relaxed));
        if oneway && (first.is_err() || request.is_empty()) {
            return first;
        }
        let answer = self.client.exchange(request, oneway).await?;
        if oneway {
            return first;
        }
        let length = answer.len();
        let input = wire::input(protocol, Answer { bytes: answer, at: 0 }, length, &limits);
        call(&mut (self.make)(input, wire::output(protocol, io::sink())))
    }
}

impl<L: Net, C> Clone for Calls<L, C> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), make: self.make.clone() }
    }
}

impl<L: Net, C> fmt::Debug for Calls<L, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("client", &self.client).finish_non_exhaustive()
    }
}

/// The bytes that generated code has written.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<u8>>>);

impl Sent {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Notes that generated code wants an answer.
struct NoAnswerYet(Arc<AtomicBool>);

impl Read for NoAnswerYet {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.store(true, Relaxed);
        Err(io::Error::other("the answer has not come yet"))
    }
}

/// The one answer.
struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Answer {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.at == self.bytes.len() && !to.is_empty() {
            return Err(io::Error::other("a closure makes one call"));
        }
        let length = Read::read(&mut &self.bytes[self.at..], to)?;
        self.at += length;
        Ok(length)
    }
}
