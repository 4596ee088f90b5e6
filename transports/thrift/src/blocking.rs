//! Generated clients on threads that may block.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::Duration,
};

use interloop::net::Address;

use crate::{
    messages::{Messages, Next},
    wire::{self, Input, Output, Wire},
};

/// Connects a generated client that blocks its thread, which must not be a loop's: there is [`ThriftClient`](crate::ThriftClient) for those.
///
/// With a timeout, connecting takes no longer, nor does a step of reading or writing. After an error of the transport the client is of no use any more. For a
/// service of several, wrap the output in a `TMultiplexedOutputProtocol`.
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
/// The system's: nobody listens there, say.
pub fn connect(address: &Address, wire: Wire, timeout: Option<Duration>) -> io::Result<(Input, Output)> {
    match address {
        Address::Tcp(address) => {
            let stream = match timeout {
                Some(timeout) => TcpStream::connect_timeout(address, timeout)?,
                None => TcpStream::connect(address)?,
            };
            stream.set_nodelay(true)?;
            stream.set_read_timeout(timeout)?;
            stream.set_write_timeout(timeout)?;
            Ok(halves(stream.try_clone()?, stream, wire))
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(timeout)?;
            stream.set_write_timeout(timeout)?;
            Ok(halves(stream.try_clone()?, stream, wire))
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn halves(from: impl Read + Send + 'static, to: impl Write + Send + 'static, wire: Wire) -> (Input, Output) {
    let from = Incoming { from, messages: Messages::new(wire.limits), message: Vec::new(), at: 0 };
    let to = Outgoing { to, framed: wire.framed, message: Vec::new() };
    let input = wire::input(wire.protocol, from, wire.limits.message, &wire.limits);
    (input, wire::output(wire.protocol, to))
}

/// Reads whole messages, which keep to the limits.
struct Incoming<R> {
    from: R,
    messages: Messages,
    message: Vec<u8>,
    at: usize,
}

impl<R: Read> Incoming<R> {
    fn receive(&mut self) -> io::Result<()> {
        loop {
            match self.messages.next() {
                Next::Message(message) => {
                    self.message = self.messages.bytes(&message).to_vec();
                    self.at = 0;
                    self.messages.advance(&message);
                    return Ok(());
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
    message: Vec<u8>,
}

impl<W: Write> Write for Outgoing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.message.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let message = std::mem::take(&mut self.message);
        let Some(bytes) = wire::frame(message, self.framed) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a call is longer than a frame can be"));
        };
        self.to.write_all(&bytes)?;
        self.to.flush()
    }
}
