//! Generated clients on threads that may block.

#[cfg(feature = "tls")]
use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};
use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

#[cfg(any(feature = "http", feature = "tls"))]
use futures_util::io::{AsyncRead, AsyncWrite};
use interloop::net::Address;
#[cfg(feature = "tls")]
use interloop_listen::TlsConnector;

#[cfg(any(feature = "http", feature = "tls"))]
use crate::blocking_socket::{BlockingSocket, BlockingStream, Deadline};
#[cfg(feature = "http")]
use crate::http_client::{self, Target};
use crate::{
    awaited::Awaited,
    messages::{Messages, Next},
    walk::Protocol,
    wire::{self, Carrier, Input, Output, Wire},
};

/// Connects a generated client that blocks its thread, which must not be a loop's: use
/// [`ThriftClient`](crate::ThriftClient) there.
///
/// The timeout, if any, limits connecting and each single read or write. After an error of the transport the client is
/// unusable. For one of several services, wrap the output in a `TMultiplexedOutputProtocol`.
///
/// Over HTTP the timeout limits a whole call, connections that the server has closed are reopened before a call, and an
/// error ends only that call.
///
/// ```no_run
/// # use thrift::protocol::{TInputProtocol, TOutputProtocol};
/// # struct CalculatorSyncClient<I, O>(I, O);
/// # impl<I: TInputProtocol, O: TOutputProtocol> CalculatorSyncClient<I, O> {
/// #     fn new(input: I, output: O) -> Self { Self(input, output) }
/// #     fn ping(&mut self) -> thrift::Result<()> { Ok(()) }
/// # }
/// use std::time::Duration;
///
/// use interloop_thrift::{Address, Protocol, Wire, connect};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let address = Address::Tcp("127.0.0.1:9090".parse()?);
/// let (input, output) = connect(&address, Wire::framed().protocol(Protocol::Compact), Some(Duration::from_secs(5)))?;
/// let mut calculator = CalculatorSyncClient::new(input, output);
/// calculator.ping()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Returns the system's error, for example if nobody listens there. Over HTTP also an error if the path or the host is
/// invalid.
pub fn connect(address: &Address, wire: Wire, timeout: Option<Duration>) -> io::Result<(Input, Output)> {
    let framed = match &wire.carrier {
        Carrier::Framed => true,
        Carrier::Buffered => false,
        #[cfg(feature = "http")]
        Carrier::Http(_) => {
            let wire = wire.to(address, None);
            return http(wire, timeout, Dial::new(address));
        }
    };
    match address {
        Address::Tcp(address) => {
            let stream = match timeout {
                Some(timeout) => TcpStream::connect_timeout(address, timeout)?,
                None => TcpStream::connect(address)?,
            };
            stream.set_nodelay(true)?;
            stream.set_read_timeout(timeout)?;
            stream.set_write_timeout(timeout)?;
            Ok(halves(stream.try_clone()?, stream, &wire, framed))
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(timeout)?;
            stream.set_write_timeout(timeout)?;
            Ok(halves(stream.try_clone()?, stream, &wire, framed))
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Connects as [`connect`], over TLS: the server's certificate must be valid for this host name or IP address.
///
/// ```no_run
/// use std::time::Duration;
///
/// use interloop_thrift::{Address, TlsConnector, Wire, connect_with_tls};
///
/// # fn main() -> interloop::Result {
/// let (address, tls) = (Address::Tcp("192.0.2.7:9090".parse()?), TlsConnector::new("/etc/sums/ca.pem")?);
/// let time = Some(Duration::from_secs(5));
/// let (input, output) = connect_with_tls(&address, Wire::framed(), time, &tls, "sums.example.org")?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Returns the errors of [`connect`], and one if either end doesn't trust the other. A server that doesn't trust the
/// client may say so only with its first answer.
#[cfg(feature = "tls")]
pub fn connect_with_tls(
    address: &Address,
    wire: Wire,
    timeout: Option<Duration>,
    tls: &TlsConnector,
    name: &str,
) -> io::Result<(Input, Output)> {
    let dial = Dial { secure: Some((tls.clone(), name.to_owned())), ..Dial::new(address) };
    let framed = match &wire.carrier {
        Carrier::Framed => true,
        Carrier::Buffered => false,
        #[cfg(feature = "http")]
        Carrier::Http(_) => return http(wire.to(address, Some(name)), timeout, dial),
    };
    let stream = Waiting { stream: Arc::new(Mutex::new(dial.dial(Deadline::after(timeout))?)), timeout };
    Ok(halves(stream.clone(), stream, &wire, framed))
}

fn halves(
    from: impl Read + Send + 'static,
    to: impl Write + Send + 'static,
    wire: &Wire,
    framed: bool,
) -> (Input, Output) {
    let awaited = Shared::default();
    let messages = Messages::new(wire.limits);
    let from = Incoming { from, messages, awaited: awaited.clone(), message: Vec::new(), at: 0 };
    let to = Outgoing { to, framed, protocol: wire.protocol, awaited, message: Vec::new() };
    let input = wire::input(wire.protocol, from, wire.limits.message, &wire.limits);
    (input, wire::output(wire.protocol, to))
}

/// Where a server is, and how to connect to it.
#[cfg(any(feature = "http", feature = "tls"))]
struct Dial {
    address: Address,
    #[cfg(feature = "tls")]
    secure: Option<(TlsConnector, String)>,
}

#[cfg(any(feature = "http", feature = "tls"))]
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

#[cfg(any(feature = "http", feature = "tls"))]
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

#[cfg(any(feature = "http", feature = "tls"))]
type Dialled = (Arc<BlockingSocket>, Box<dyn Duplex>);

#[cfg(any(feature = "http", feature = "tls"))]
impl Dial {
    fn new(address: &Address) -> Self {
        Self {
            address: address.clone(),
            #[cfg(feature = "tls")]
            secure: None,
        }
    }

    fn dial(&self, deadline: Deadline) -> io::Result<Dialled> {
        let line = BlockingSocket::connect(&self.address, deadline)?;
        let stream = BlockingStream(line.clone());
        #[cfg(feature = "tls")]
        if let Some((tls, name)) = &self.secure {
            let stream = line.wait_for(deadline, tls.connect(stream, name))?;
            return Ok((line, Box::new(stream)));
        }
        Ok((line, Box::new(stream)))
    }
}

/// A TLS connection, shared by the reader and the writer.
#[cfg(feature = "tls")]
#[derive(Clone)]
struct Waiting {
    stream: Arc<Mutex<Dialled>>,
    timeout: Option<Duration>,
}

#[cfg(feature = "tls")]
impl Waiting {
    fn step<T>(
        &self,
        mut step: impl FnMut(Pin<&mut Box<dyn Duplex>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let (line, stream) = &mut *self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        line.wait_for(Deadline::after(self.timeout), poll_fn(|poller| step(Pin::new(stream), poller)))
    }
}

#[cfg(feature = "tls")]
impl Read for Waiting {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.step(|stream, poller| stream.poll_read(poller, to))
    }
}

#[cfg(feature = "tls")]
impl Write for Waiting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.step(|stream, poller| stream.poll_write(poller, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.step(|stream, poller| stream.poll_flush(poller))
    }
}

#[cfg(feature = "http")]
fn http(wire: Wire, timeout: Option<Duration>, dial: Dial) -> io::Result<(Input, Output)> {
    let Carrier::Http(place) = &wire.carrier else { return Err(io::ErrorKind::InvalidInput.into()) };
    let answer = Arc::default();
    let target = place.target()?;
    let mut poster = Poster { wire, target, timeout, dial, open: None, call: Vec::new(), answer: Arc::clone(&answer) };
    poster.open = Some(poster.connected(Deadline::after(timeout))?);
    let Wire { protocol, limits, .. } = poster.wire;
    Ok((wire::input(protocol, Answers(answer), limits.message, &limits), wire::output(protocol, poster)))
}

#[cfg(feature = "http")]
type Open = (Arc<BlockingSocket>, http_client::Connection<Box<dyn Duplex>>);

/// Posts whole calls, each when it is flushed, and waits for the response.
#[cfg(feature = "http")]
struct Poster {
    wire: Wire,
    target: Target,
    timeout: Option<Duration>,
    dial: Dial,
    open: Option<Open>,
    call: Vec<u8>,
    answer: Arc<Mutex<io::Cursor<Vec<u8>>>>,
}

#[cfg(feature = "http")]
impl Poster {
    fn connected(&self, deadline: Deadline) -> io::Result<Open> {
        let (line, stream) = self.dial.dial(deadline)?;
        let connection = line.wait_for(deadline, http_client::Connection::open(stream, self.target.clone()))?;
        Ok((line, connection))
    }
}

#[cfg(feature = "http")]
impl Write for Poster {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let call = std::mem::take(&mut self.call);
        let oneway = wire::is_oneway(self.wire.protocol, &call);
        let deadline = Deadline::after(self.timeout);
        let kept = match self.open.take() {
            Some((line, mut connection)) => {
                let free = line.wait_for(deadline, async { Ok(connection.is_free().await) })?;
                free.then_some((line, connection))
            }
            None => None,
        };
        let (line, mut connection) = match kept {
            Some(open) => open,
            None => self.connected(deadline)?,
        };
        let answer = line.wait_for(deadline, connection.post(call, oneway, &self.wire.limits))?;
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = io::Cursor::new(answer);
        self.open = Some((line, connection));
        Ok(())
    }
}

/// Reads the answer that has come.
#[cfg(feature = "http")]
struct Answers(Arc<Mutex<io::Cursor<Vec<u8>>>>);

#[cfg(feature = "http")]
impl Read for Answers {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(to)
    }
}

/// State shared by the reader and the writer.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Awaited>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Awaited> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads whole messages that keep to the limits.
struct Incoming<R> {
    from: R,
    messages: Messages,
    awaited: Shared,
    message: Vec<u8>,
    at: usize,
}

impl<R: Read> Incoming<R> {
    fn receive(&mut self) -> io::Result<()> {
        loop {
            match self.messages.next() {
                Next::Message(message) => {
                    let stray = self.awaited.lock().is_stray(&self.messages.method(&message));
                    if !stray {
                        self.message = self.messages.bytes(&message).to_vec();
                        self.at = 0;
                    }
                    self.messages.advance(&message);
                    if !stray {
                        return Ok(());
                    }
                    continue;
                }
                Next::Bad(bad) => return Err(io::Error::new(io::ErrorKind::InvalidData, bad.fault.to_string())),
                Next::More => {}
            }
            let mut piece = [0; 16 << 10];
            match self.from.read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.messages.push(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl<R: Read> Read for Incoming<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.at == self.message.len() && !to.is_empty() {
            self.receive()?;
        }
        let length = (&self.message[self.at..]).read(to)?;
        self.at += length;
        Ok(length)
    }
}

/// Sends whole messages, each when it is flushed.
struct Outgoing<W> {
    to: W,
    framed: bool,
    protocol: Protocol,
    awaited: Shared,
    message: Vec<u8>,
}

impl<W: Write> Write for Outgoing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.message.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let message = std::mem::take(&mut self.message);
        self.awaited.lock().sent(self.protocol, &message);
        let Some(bytes) = wire::frame(message, self.framed) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a call is longer than a frame can be"));
        };
        self.to.write_all(&bytes)?;
        self.to.flush()
    }
}
