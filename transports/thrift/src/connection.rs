//! One connection, from its first byte to its end.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context as Poller, Poll},
    time::{Duration, Instant},
};

use futures_util::io::{AsyncRead, AsyncWrite};
use interloop::{
    net::{Address, Net},
    task::Requested,
};
use interloop_listen::{FAREWELL, Permit, Wait, last_call};
use thrift::ApplicationErrorKind;

use crate::{
    messages::{Bad, Message, Messages, Next},
    processing::{Call, End, Outcome, Processor, Shows, Verdict},
    shared::Server,
    stream::Stream,
    walk::{Fault, Kind},
    wire,
};

/// How much is read at once.
const PIECE: usize = 16 << 10;
/// After this much without a pause, others get their turn.
const TURN: usize = 4;

/// Serves a connection until the client closes it, a limit is hit, or it has been drained.
pub(crate) async fn serve<L: Net>(stream: Stream<L>, peer: Address, server: Rc<Server>, _permit: Permit) {
    let messages = Messages::new(server.limits);
    let requested = server.shutdown.requested();
    let taking = Wait::new(server.times.pace);
    let mut connection = Connection::<L> {
        stream,
        peer,
        messages,
        requested,
        last: None,
        began: None,
        coming: None,
        taking,
        steps: 0,
        server,
    };
    let end = connection.run().await;
    if matches!(end, Gone::Closed | Gone::TooLate(_)) && connection.stream.says_goodbye() {
        connection.close().await;
    }
    let Connection { server, peer, .. } = &connection;
    match end {
        Gone::Closed => {}
        Gone::Broken(error) => log::debug!(target: &server.target, "a connection from {peer} broke: {error}"),
        Gone::Bad(bad) => {
            server.counts.bad_messages.add(1);
            log::debug!(target: &server.target, "a bad message from {peer}: {}", bad.fault);
            connection.refuse(&bad).await;
        }
        Gone::TooLate(what) => log::debug!(target: &server.target, "closing a connection from {peer}: {what}"),
        Gone::Unanswered(method) => {
            let why = "panicked, and may be oneway: it hasn't answered a call before";
            log::debug!(target: &server.target, "closing a connection from {peer}: {method} {why}");
            connection.hurry();
            connection.part(Instant::now() + FAREWELL).await;
        }
    }
}

struct Connection<L: Net> {
    stream: Stream<L>,
    peer: Address,
    messages: Messages,
    requested: Requested,
    /// Once the server stops: until when calls are accepted.
    last: Option<Instant>,
    /// When the first byte of the current message came.
    began: Option<Instant>,
    /// How fast the rest of that message comes, and how fast answers are taken.
    coming: Option<Wait>,
    taking: Wait,
    /// Steps since the last pause.
    steps: usize,
    server: Rc<Server>,
}

/// How a connection ends.
enum Gone {
    Closed,
    Broken(io::Error),
    Bad(Bad),
    TooLate(&'static str),
    /// The method panicked, and it is unknown whether the client waits for an answer.
    Unanswered(String),
}

/// The result of a wait.
enum Waited<T> {
    Done(T),
    TooLate,
    /// The server was asked to stop.
    Stopped,
}

impl<L: Net> Connection<L> {
    async fn run(&mut self) -> Gone {
        loop {
            let gone = match self.messages.next() {
                Next::Message(message) => self.answer(&message).await,
                Next::More => self.read().await,
                Next::Bad(bad) => Err(Gone::Bad(bad)),
            };
            if let Err(gone) = gone {
                return gone;
            }
            self.steps += 1;
            if self.steps >= TURN {
                self.steps = 0;
                pause().await;
            }
        }
    }

    async fn answer(&mut self, message: &Message) -> Result<(), Gone> {
        (self.began, self.coming) = (None, None);
        let call = Call {
            protocol: message.protocol,
            oneway: message.header.kind == Kind::Oneway,
            method: self.messages.method(message),
            sequence: message.header.sequence,
        };
        if let Kind::Reply | Kind::Exception = message.header.kind {
            let (protocol, framed) = (Some(message.protocol), message.framed);
            let fault = Fault::MessageType(if message.header.kind == Kind::Reply { 2 } else { 3 });
            return Err(Gone::Bad(Bad { fault, framed, protocol, call: Some((call.method, call.sequence)) }));
        }
        let began = Instant::now();
        let bytes = self.messages.bytes(message);
        let mut outcome = process(&self.server, &call, bytes).await;
        let verdict = self.server.oneways.judge(&call, &mut outcome);
        self.messages.advance(message);
        self.server.counts.ended(&call.method, began, &outcome.end);
        if let End::Failed(text) = &outcome.end {
            log::debug!(target: &self.server.target, "{} failed: {text}", call.method);
        }
        if verdict == Verdict::Closes {
            return Err(Gone::Unanswered(call.method));
        }
        if outcome.answer.is_empty() {
            return Ok(());
        }
        match wire::frame(outcome.answer, message.framed) {
            Some(bytes) => self.write(&bytes).await,
            None => Err(Gone::TooLate("an answer is longer than a frame can be")),
        }
    }

    /// Shortens all waits, since the server stops.
    fn hurry(&mut self) {
        let now = Instant::now();
        self.last = Some(now + FAREWELL);
        self.taking.hurry(FAREWELL, now);
    }

    /// Waits for more of a message, or for the next one.
    async fn read(&mut self) -> Result<(), Gone> {
        // If a client always has more to send, no wait would notice the stop.
        if self.last.is_none() && self.server.shutdown.is_requested() {
            self.hurry();
        }
        let (within, limit) = if self.messages.is_empty() {
            (self.began, self.coming) = (None, None);
            (false, self.server.times.idle)
        } else {
            let began = *self.began.get_or_insert_with(Instant::now);
            let coming = self.coming.get_or_insert_with(|| Wait::new(self.server.times.pace));
            let whole = self.server.times.read.map(|limit| limit.saturating_sub(began.elapsed()));
            (true, whole.into_iter().chain(coming.left()).min())
        };
        let limit = match self.last {
            None => limit,
            // Messages from before the stop are answered; nothing else is waited for.
            Some(_) if !within && !self.stream.has_bytes() => return Err(Gone::Closed),
            Some(last) => {
                let rest = last.saturating_duration_since(Instant::now());
                Some(limit.map_or(rest, |limit| limit.min(rest)))
            }
        };
        let messages = &mut self.messages;
        let (read, since) = wait(
            &self.server,
            &mut self.stream,
            limit,
            self.last.is_none().then_some(&mut self.requested),
            |stream, poller| {
                let mut piece = [0; PIECE];
                let polled = stream.poll_read(poller, &mut piece);
                if let Poll::Ready(Ok(length)) = polled {
                    messages.push(&piece[..length]);
                }
                polled
            },
        )
        .await;
        if let (Waited::Done(Ok(length)), Some(coming)) = (&read, &mut self.coming) {
            waited(coming, since, *length);
        }
        match read {
            Waited::Done(Ok(0)) if within => {
                Err(Gone::Broken(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended within a message")))
            }
            Waited::Done(Ok(0)) => Err(Gone::Closed),
            Waited::Done(Ok(length)) => {
                self.server.counts.received.add(length as u64);
                Ok(())
            }
            Waited::Done(Err(error)) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Waited::Done(Err(error)) => Err(Gone::Broken(error)),
            Waited::TooLate if within => Err(self.too_slow("a message takes too long")),
            Waited::TooLate => Err(Gone::TooLate("it stood idle")),
            Waited::Stopped => {
                self.hurry();
                Ok(())
            }
        }
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        loop {
            // At last, flush the buffers of loops and TLS.
            let flushes = bytes.is_empty();
            let limit = self.limit_of_room();
            let (written, since) = wait(
                &self.server,
                &mut self.stream,
                limit,
                self.last.is_none().then_some(&mut self.requested),
                |stream, poller| {
                    if flushes { stream.poll_flush(poller).map_ok(|()| 0) } else { stream.poll_write(poller, bytes) }
                },
            )
            .await;
            waited(&mut self.taking, since, if let Waited::Done(Ok(length)) = written { length } else { 0 });
            match written {
                Waited::Done(Ok(_)) if flushes => return Ok(()),
                Waited::Done(Ok(0)) => return Err(Gone::Broken(io::ErrorKind::WriteZero.into())),
                Waited::Done(Ok(length)) => {
                    self.server.counts.sent.add(length as u64);
                    bytes = &bytes[length..];
                }
                Waited::Done(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Waited::Done(Err(error)) => return Err(Gone::Broken(error)),
                Waited::TooLate => return Err(self.too_slow("the client takes too little of an answer")),
                Waited::Stopped => self.hurry(),
            }
        }
    }

    /// Returns how long the client may leave no room for an answer; at the stop, a bit less than the server itself has
    /// left.
    fn limit_of_room(&self) -> Option<Duration> {
        let left = self.taking.left();
        let deadline = self.last.and_then(|_| self.server.shutdown.deadline());
        let rest = deadline.map(|deadline| last_call(deadline).saturating_duration_since(Instant::now()));
        left.into_iter().chain(rest).min()
    }

    fn too_slow(&self, what: &'static str) -> Gone {
        self.server.counts.slow_clients.add(1);
        Gone::TooLate(what)
    }

    async fn close(&mut self) {
        wait(&self.server, &mut self.stream, Some(FAREWELL), None, |stream, poller| stream.poll_close(poller)).await;
    }

    /// Tells the client why nothing more is accepted, and gives it time to read that.
    async fn refuse(&mut self, bad: &Bad) {
        // From now on there is one second for everything.
        self.hurry();
        let until = Instant::now() + FAREWELL;
        if let Some(protocol) = bad.protocol {
            let (method, sequence) = bad.call.clone().unwrap_or_default();
            let kind = ApplicationErrorKind::ProtocolError;
            let answer = wire::exception(protocol, &method, sequence, kind, bad.fault.to_string());
            match wire::frame(answer, bad.framed) {
                Some(answer) if self.write(&answer).await.is_ok() => {}
                _ => return,
            }
        }
        self.part(until).await;
    }

    /// Closes a connection whose client may still send, until this time at most.
    async fn part(&mut self, until: Instant) {
        // If the server closed while the client still sends, the connection would be reset and answers might be lost on
        // the way; so it reads the rest and throws it away.
        let rest = until.saturating_duration_since(Instant::now());
        let mut closed = false;
        let rest = wait(&self.server, &mut self.stream, Some(rest), None, |mut stream, poller| {
            if !closed {
                match stream.as_mut().poll_close(poller) {
                    Poll::Ready(Ok(())) => closed = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            let mut piece = [0; PIECE];
            for _ in 0..TURN {
                match stream.as_mut().poll_read(poller, &mut piece) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
            // Others get their turn, and so does the time limit.
            poller.waker().wake_by_ref();
            Poll::Pending
        });
        rest.await;
    }
}

/// Processes a call: here, or on the workers.
async fn process(server: &Server, call: &Call, bytes: &[u8]) -> Outcome {
    let (processor, workers) = match (&server.processor, &server.workers) {
        (Processor::Local(processor), _) => return call.process(&server.target, &**processor, bytes, &server.limits),
        (Processor::Shared(processor), None) => {
            return call.process(&server.target, &**processor, bytes, &server.limits);
        }
        (Processor::Shared(processor), Some(workers)) => (processor.clone(), workers),
    };
    let work = {
        let (call, bytes, limits, target) = (call.clone(), bytes.to_vec(), server.limits, server.target.clone());
        move || call.process(&target, &*processor, &bytes, &limits)
    };
    workers.run(work).await.unwrap_or_else(|error| {
        // The workers are gone, and so is the task.
        let answer = call.refuse(ApplicationErrorKind::InternalError, error.to_string());
        let answer = if call.oneway { Vec::new() } else { answer };
        Outcome { answer, end: End::Failed(error.to_string()), shows: Shows::Nothing }
    })
}

/// Waits for the stream: for the limit at most, or until the stop. Returns since when it waited, if it wasn't ready at
/// once.
async fn wait<S: Unpin, T>(
    server: &Server,
    stream: &mut S,
    limit: Option<Duration>,
    mut stop: Option<&mut Requested>,
    mut poll: impl FnMut(Pin<&mut S>, &mut Poller<'_>) -> Poll<T>,
) -> (Waited<T>, Option<Instant>) {
    if limit.is_some_and(|limit| limit.is_zero()) {
        return (Waited::TooLate, None);
    }
    let (mut sleep, mut since) = (None, None);
    let waited = poll_fn(|poller| {
        if let Poll::Ready(done) = poll(Pin::new(stream), poller) {
            return Poll::Ready(Waited::Done(done));
        }
        since.get_or_insert_with(Instant::now);
        if stop.as_mut().is_some_and(|stop| Pin::new(&mut **stop).poll(poller).is_ready()) {
            return Poll::Ready(Waited::Stopped);
        }
        let Some(limit) = limit else { return Poll::Pending };
        // Only now: usually there is no need to wait.
        let sleep = sleep.get_or_insert_with(|| (server.sleep)(limit));
        sleep.as_mut().poll(poller).map(|()| Waited::TooLate)
    })
    .await;
    (waited, since)
}

/// Records a wait, if there was one, and its result.
fn waited(wait: &mut Wait, since: Option<Instant>, bytes: usize) {
    if since.is_none() && wait.is_even() {
        return;
    }
    since.into_iter().for_each(|since| wait.begin(since));
    let now = Instant::now();
    wait.moved(bytes as u64, now);
    wait.end(now);
}

/// Lets others have their turn.
async fn pause() {
    let mut paused = false;
    poll_fn(|poller| {
        if paused {
            return Poll::Ready(());
        }
        paused = true;
        poller.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
