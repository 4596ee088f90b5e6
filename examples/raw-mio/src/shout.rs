//! Sends every line back, louder. Only `drive` belongs to Interloop: the rest existed before.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use interloop::{
    EventLoop, Result, clap,
    event_loop::{Mailbox, Turn},
};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

const LISTENER: Token = Token(0);
/// Interloop's token, beside the author's own.
const MAILBOX: Token = Token(1);
const FIRST_CLIENT: usize = 2;

/// The part of the server that others see.
pub struct Counts {
    /// The address it listens on.
    pub address: SocketAddr,
    /// The number of lines shouted.
    pub lines: Cell<u64>,
}

/// The server as a loop.
#[derive(Clone, Default)]
pub struct Shout;

/// The options of [`Shout`].
#[derive(clap::Args)]
pub struct ShoutOptions {
    /// Listen on this port of 127.0.0.1; 0 is any free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
}

impl EventLoop for Shout {
    const NAME: &'static str = "shout";
    type Options = ShoutOptions;
    type Native = Rc<Counts>;

    fn drive(
        self,
        options: ShoutOptions,
        mut mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, Rc<Counts>),
    ) -> Result {
        let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(64));
        let mut server = Server::new(&poll, options.port)?;
        log::info!("server started on {}", server.counts.address);

        let waker = Waker::new(poll.registry(), MAILBOX)?;
        mailbox.set_notify(move || {
            if let Err(error) = waker.wake() {
                log::error!("the server can't be woken: {error}");
            }
        });
        started(&mailbox, server.counts.clone());
        loop {
            let timeout = match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => Some(std::time::Duration::ZERO),
                Turn::Idle => None,
            };

            match poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => server.accept(&poll)?,
                    MAILBOX => {}
                    client => server.serve(client),
                }
            }
        }
    }
}

/// The author's server.
struct Server {
    listener: TcpListener,
    clients: HashMap<Token, Client>,
    last: usize,
    counts: Rc<Counts>,
}

struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Server {
    fn new(poll: &Poll, port: u16) -> io::Result<Self> {
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let counts = Rc::new(Counts { address: listener.local_addr()?, lines: Cell::new(0) });
        Ok(Self { listener, clients: HashMap::new(), last: FIRST_CLIENT, counts })
    }

    fn accept(&mut self, poll: &Poll) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    // The next client triggers the next attempt.
                    log::warn!("can't accept a client: {error}");
                    return Ok(());
                }
            };
            self.last += 1;
            poll.registry().register(&mut stream, Token(self.last), Interest::READABLE | Interest::WRITABLE)?;
            self.clients.insert(Token(self.last), Client { stream, answer: Vec::new() });
        }
    }

    fn serve(&mut self, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let open = client.serve(&self.counts);
        if !open {
            self.clients.remove(&token);
        }
    }
}

impl Client {
    /// Reads and writes until one would block, since mio reports edges. Returns whether the client stays.
    fn serve(&mut self, counts: &Counts) -> bool {
        let mut bytes = [0; 1024];
        loop {
            while !self.answer.is_empty() {
                match self.stream.write(&self.answer) {
                    Ok(written) => drop(self.answer.drain(..written)),
                    // A client that doesn't read is not read from, until there is space again.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                    Err(_) => return false,
                }
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(length) => {
                    let text = &bytes[..length];
                    let lines = text.iter().filter(|&&byte| byte == b'\n').count();
                    counts.lines.set(counts.lines.get() + lines as u64);
                    self.answer.extend(text.iter().map(u8::to_ascii_uppercase));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }
}
