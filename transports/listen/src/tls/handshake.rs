//! A connection's TLS handshake: its time limit, its turn among others, and the alert it sends if it fails.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use interloop::{
    net::{AsyncRead, AsyncWrite},
    task::Requested,
};
use rustls::{
    Connection, ContentType, Error,
    server::{Accepted, Acceptor},
};

use super::{
    acceptor::TlsAcceptor,
    stream::{Now, TlsStream},
};

/// How long a connection that ends anyway may take for its farewell, and a handshake once the server stops.
const FAREWELL: Duration = Duration::from_secs(1);
/// After this many pieces of one client, others get their turn.
const TURN: usize = 16;
/// The alert `unexpected_message`, as a record: fatal, unencrypted.
const UNEXPECTED_MESSAGE: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];

/// Why a handshake failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The connection broke, or the client can't be served.
    Failed(io::Error),
    /// It took too long.
    TooLate,
}

impl TlsAcceptor {
    /// Makes a TLS connection of an accepted one, within the time limit, which `sleep` waits for, and within a second
    /// once the server is asked to stop. A client that has sent nothing yet doesn't count as a handshake.
    ///
    /// # Errors
    ///
    /// Returns why the handshake failed. The client has been told.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn accept<S, W>(
        &self,
        mut stream: S,
        stop: Requested,
        sleep: impl Fn(Duration) -> W,
    ) -> Result<TlsStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        W: Future<Output = ()>,
    {
        let shared = &self.0;
        let mut last_words = Vec::new();
        let made = {
            let mut handshake = pin!(self.handshake(&mut stream, &mut last_words));
            let mut limit = pin!(async {
                match shared.limit {
                    Some(limit) => sleep(limit).await,
                    None => std::future::pending().await,
                }
            });
            let mut farewell = pin!(async {
                stop.await;
                sleep(FAREWELL).await;
            });
            poll_fn(|poller| {
                if let Poll::Ready(made) = handshake.as_mut().poll(poller) {
                    return Poll::Ready(made.map_err(HandshakeError::Failed));
                }
                if limit.as_mut().poll(poller).is_ready() || farewell.as_mut().poll(poller).is_ready() {
                    return Poll::Ready(Err(HandshakeError::TooLate));
                }
                Poll::Pending
            })
            .await
        };
        match made {
            Ok(connection) => {
                shared.handshakes.add(1);
                Ok(TlsStream::new(stream, connection))
            }
            Err(error) => {
                shared.failures.add(1);
                if matches!(&error, HandshakeError::Failed(error) if error.kind() == io::ErrorKind::InvalidData) {
                    let (mut said, mut limit) = (pin!(refuse(&mut stream, &last_words)), pin!(sleep(FAREWELL)));
                    poll_fn(|poller| match said.as_mut().poll(poller) {
                        Poll::Ready(()) => Poll::Ready(()),
                        Poll::Pending => limit.as_mut().poll(poller),
                    })
                    .await;
                }
                Err(error)
            }
        }
    }

    /// If it fails, `last_words` holds what must still be sent.
    async fn handshake<S>(&self, stream: &mut S, last_words: &mut Vec<u8>) -> io::Result<Connection>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = hello(stream, last_words).await?;
        let _turn = self.0.turns.take().await;
        // Uses the current certificate. The expensive part happens here, in one go.
        let config = self.0.lock().clone();
        let connection = accepted.into_connection(config).map_err(|(error, mut alert)| {
            let _ = alert.write_all(last_words);
            io::Error::new(io::ErrorKind::InvalidData, error)
        })?;
        let mut stream = TlsStream::new(stream, connection);
        let done = stream.shake_hands().await;
        if done.is_err() {
            while matches!(stream.connection().write_tls(last_words), Ok(1..)) {}
        }
        done.map(|()| stream.into_connection())
    }
}

/// Reads the client's first message.
async fn hello<S>(stream: &mut S, last_words: &mut Vec<u8>) -> io::Result<Accepted>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut acceptor = Acceptor::default();
    let mut pieces = 0;
    poll_fn(|poller| {
        loop {
            match acceptor.read_tls(&mut Now { io: &mut *stream, poller }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                read => read?,
            };
            match acceptor.accept() {
                Ok(Some(accepted)) => return Poll::Ready(Ok(accepted)),
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let _ = alert.write_all(last_words);
                    // rustls has no alert for a first message that isn't a ClientHello. An alert must not answer an
                    // alert.
                    let is_alert = matches!(error, Error::InappropriateMessage { got_type: ContentType::Alert, .. });
                    if last_words.is_empty() && !is_alert {
                        last_words.extend(UNEXPECTED_MESSAGE);
                    }
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
            }
            pieces += 1;
            if pieces % TURN == 0 {
                poller.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    })
    .await
}

/// Sends the alert. If the server closed while the client still sends, the connection would be reset and the alert
/// might be lost on the way; so it reads the rest and throws it away.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, mut last_words: &[u8]) {
    let mut closed = false;
    poll_fn(|poller| {
        while !last_words.is_empty() {
            match ready!(Pin::new(&mut *stream).poll_write(poller, last_words)) {
                Ok(length @ 1..) => last_words = &last_words[length..],
                _ => return Poll::Ready(()),
            }
        }
        if !closed {
            if ready!(Pin::new(&mut *stream).poll_close(poller)).is_err() {
                return Poll::Ready(());
            }
            closed = true;
        }
        discard(stream, poller)
    })
    .await;
}

fn discard<S: AsyncRead + Unpin>(stream: &mut S, poller: &mut Poller<'_>) -> Poll<()> {
    let mut piece = [0; 4096];
    for _ in 0..TURN {
        match ready!(Pin::new(&mut *stream).poll_read(poller, &mut piece)) {
            Ok(1..) => {}
            _ => return Poll::Ready(()),
        }
    }
    poller.waker().wake_by_ref();
    Poll::Pending
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::TooLate => f.write_str("it took too long"),
        }
    }
}

impl std::error::Error for HandshakeError {}
