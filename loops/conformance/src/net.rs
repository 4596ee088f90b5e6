//! Sockets and readiness.

use std::{
    fmt, fs,
    future::{Future, poll_fn},
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use futures_util::{AsyncReadExt, AsyncWriteExt, future::try_join};
use interloop::{
    Remote,
    net::{Accept, Address, AsyncRead, AsyncWrite, Bound, Interest, Net, Watch, WatchFd},
};
use interloop_listen::{End, Ends};
use socket2::{Domain, SockRef, Socket, Type};

use crate::{
    Subject,
    scene::sized,
    trial::{Trial, ended, on},
};

/// Returns a byte that depends on its place in the stream.
fn byte(place: usize) -> u8 {
    (place ^ (place >> 8) ^ (place >> 16)) as u8
}

/// Sends `length` bytes, then ends the sending half.
async fn send(mut writer: impl AsyncWrite + Unpin, length: usize) -> io::Result<()> {
    let mut sent = 0;
    while sent < length {
        let chunk: Vec<u8> = (sent..length.min(sent + 60_000)).map(byte).collect();
        writer.write_all(&chunk).await?;
        sent += chunk.len();
    }
    writer.close().await
}

/// Receives `length` bytes, and the end.
async fn receive<L: Net>(trial: &Trial<L>, mut reader: impl AsyncRead + Unpin, length: usize, who: &str) {
    let (mut received, mut buffer) = (0, vec![0; 64 * 1024]);
    loop {
        let wrong = format!("the {who} gets nothing more after {received} of {length} bytes");
        let count = trial.must(&wrong, reader.read(&mut buffer)).await;
        if count == 0 {
            break;
        }
        if let Some(place) = (0..count).find(|&place| buffer[place] != byte(received + place)) {
            panic!("the {who} gets a wrong byte at {}", received + place);
        }
        received += count;
    }
    assert!(received == length, "the {who} gets {received} of {length} bytes, and the end");
}

/// Has each end send and receive at the same time, by two children of its own.
async fn both_ways<L: Net>(trial: &Trial<L>, mut listener: L::Listener, address: Address) {
    let length = sized(4 << 20, 64 << 20);
    let both = try_join(trial.cx.connect(address), listener.accept());
    let (client, (server, _)) = trial.must("a client of the same loop is not connected", both).await;
    let ((from_server, to_server), (from_client, to_client)) = (client.split(), server.split());
    let sending = [trial.cx.spawn_local(send(to_server, length)), trial.cx.spawn_local(send(to_client, length))];
    let receive_at_client = receive(trial, from_server, length, "client");
    let receive_at_server = receive(trial, from_client, length, "server");
    futures_util::future::join(receive_at_client, receive_at_server).await;
    for sending in sending {
        trial.must("what was received is not sent", async { ended(sending).await? }).await;
    }
}

/// Checks that 64 MiB (4 at CI's size) go both ways at once between two tasks of the loop, and that each byte arrives
/// in order.
pub fn a_stream_of_tcp_carries_every_byte_both_ways<L: Net>(subject: &Subject<L>) {
    on(subject, async |trial: Trial<L>| {
        let (listener, address) = trial.listen();
        both_ways(&trial, listener, address.into()).await;
    });
}

/// Checks the same for a Unix socket, whose file is gone at the end.
pub fn a_unix_stream_carries_every_byte_both_ways<L: Net>(subject: &Subject<L>) {
    let folder = tempfile::tempdir().expect("a folder for the socket");
    let path = folder.path().join("socket");
    let place = path.clone();
    on(subject, async |trial: Trial<L>| {
        let bound = Bound::unix(&place, 0o600, None).expect("a Unix socket");
        let listener = trial.cx.listen(bound).unwrap_or_else(|error| panic!("a Unix socket is not taken: {error}"));
        let address = Address::Unix(place);
        assert!(*listener.address() == address, "it listens at {address}, and says {}", listener.address());
        both_ways(&trial, listener, address).await;
    });
    assert!(!path.exists(), "the Unix socket's file is left");
}

/// Checks that an end that has closed its sending half gets the answer that comes after: first the peer, then the
/// loop's own end.
pub fn who_stops_sending_still_receives<L: Net>(subject: &Subject<L>) {
    on(subject, async |trial: Trial<L>| {
        let (mut listener, address) = trial.listen();
        let client = converse(address, trial.soon, true);
        let (mut stream, from) = trial.must("a client is not accepted", listener.accept()).await;
        assert!(from.tcp().is_some_and(|from| from.ip().is_loopback()), "the client is said to come from {from}");
        let mut question = String::new();
        trial.must("the end of what the peer sends is not told", stream.read_to_string(&mut question)).await;
        assert!(question == "hello", "the peer's hello came as {question:?}");
        trial.must("nothing can be sent to who has stopped sending", stream.write_all(b"hello")).await;
        trial.must("a stream does not close", stream.close()).await;
        drop(stream);
        assert_heard(client);

        let client = converse(address, trial.soon, false);
        let (mut stream, _) = trial.must("a client is not accepted", listener.accept()).await;
        trial.must("a stream can't be written to", stream.write_all(b"hello")).await;
        trial.must("a stream does not close", stream.close()).await;
        // The peer answers once it has heard the end, while this end can still read.
        let mut answer = String::new();
        trial.must("a stream that has been closed gets no answer", stream.read_to_string(&mut answer)).await;
        assert_heard(client);
        assert!(answer == "hello", "a stream that has been closed gets {answer:?} for an answer");
    });
}

type Conversation = thread::JoinHandle<io::Result<String>>;

/// Runs a client that says hello and stops sending, either first or once it has heard the other to the end.
fn converse(address: SocketAddr, patience: Duration, is_first: bool) -> Conversation {
    thread::spawn(move || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(patience))?;
        let mut heard = String::new();
        if !is_first {
            stream.read_to_string(&mut heard)?;
        }
        stream.write_all(b"hello")?;
        stream.shutdown(Shutdown::Write)?;
        if is_first {
            stream.read_to_string(&mut heard)?;
        }
        Ok(heard)
    })
}

fn assert_heard(client: Conversation) {
    match client.join().expect("no panic") {
        Ok(heard) => assert!(heard == "hello", "the loop's hello came as {heard:?}"),
        Err(error) => panic!("what the loop sends, and the end of it, does not come: {error}"),
    }
}

/// Checks that a connection that the peer resets in the middle ends with an error.
pub fn a_reset_by_the_peer_is_an_error_and_not_an_end<L: Net>(subject: &Subject<L>) {
    on(subject, async |trial: Trial<L>| {
        let (mut listener, address) = trial.listen();
        let client = TcpStream::connect(address).expect("it listens");
        let (mut stream, _) = trial.must("a client is not accepted", listener.accept()).await;
        let reading = trial.cx.spawn_local(async move { Ok(stream.read(&mut [0; 16]).await) });
        // The read waits by now: tasks of one loop run in turn.
        trial.let_others_run().await;
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("linger");
        drop(client);
        match trial.must("a reset by the peer is not told", async { ended(reading).await? }).await {
            Ok(count) => panic!("a reset by the peer came as the end, or as bytes: {count}"),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("a reset by the peer came as another error: {error}"),
        }
    });
}

/// Checks that a thousand clients (200 at CI's size) are connected at the same time, and that each is answered.
pub fn a_thousand_connections_at_once_are_all_served<L: Net>(subject: &Subject<L>) {
    // Each connection takes two descriptors in this one process.
    let clients = sized(200, 1000);
    on(subject, async move |trial: Trial<L>| {
        let (mut listener, address) = trial.listen();
        let asking = (0..clients).map(|number| {
            let stream = trial.cx.connect(address);
            trial.cx.spawn_local(async move {
                let mut stream = stream.await?;
                stream.write_all(&(number as u32).to_be_bytes()).await?;
                let mut answer = [0; 4];
                stream.read_exact(&mut answer).await?;
                Ok(u32::from_be_bytes(answer))
            })
        });
        let asking: Vec<_> = asking.collect();
        let mut open = Vec::new();
        for number in 0..clients {
            let wrong = format!("connection {number} of {clients} is not accepted");
            open.push(trial.must(&wrong, listener.accept()).await.0);
        }
        for mut stream in open {
            let answer = async move {
                let mut question = [0; 4];
                stream.read_exact(&mut question).await?;
                stream.write_all(&question).await
            };
            trial.cx.spawn_local(answer).detach();
        }
        for (number, asked) in asking.into_iter().enumerate() {
            let wrong = format!("client {number} of {clients} is not answered");
            let answer = trial.must(&wrong, async { ended(asked).await? }).await;
            assert!(answer == number as u32, "client {number} gets the answer of client {answer}");
        }
    });
}

/// Checks that a connect to a port where nobody listens is refused, as is one to a Unix socket that doesn't exist.
pub fn where_nobody_listens_a_connect_is_refused<L: Net>(subject: &Subject<L>) {
    on(subject, async |trial: Trial<L>| {
        // The socket is bound, so that nobody else gets the port; and it does not listen.
        let silent = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        silent.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        let port = silent.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound");
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("none");
        let places =
            [(Address::from(port), io::ErrorKind::ConnectionRefused), (missing.into(), io::ErrorKind::NotFound)];
        for (place, expected) in places {
            let connect = trial.cx.connect(place);
            let connected = trial.must("that nobody listens is not told", async { Ok(connect.await) }).await;
            match connected.map(drop).map_err(|error| error.kind()) {
                Ok(()) => panic!("a connect to where nobody listens succeeds"),
                Err(kind) => assert!(kind == expected, "that nobody listens came as {kind}, and not as {expected}"),
            }
        }
    });
}

/// Checks that an `accept` that was polled, and dropped, takes no connection along: before a client is there, once it
/// is, and when the loop has seen it.
pub fn an_accept_that_is_dropped_loses_no_connection<L: Net>(subject: &Subject<L>) {
    on(subject, async |trial: Trial<L>| {
        let (mut listener, address) = trial.listen();
        for round in 0..20_u8 {
            assert!(accept_in_polls(&trial, &mut listener, 1).await.is_none(), "a connection of nobody is accepted");
            let mut client = TcpStream::connect(address).expect("it listens");
            client.write_all(&[round]).expect("it is connected");
            let mut accepted = accept_in_polls(&trial, &mut listener, 1).await;
            if accepted.is_none() {
                accepted = accept_in_polls(&trial, &mut listener, 2).await;
            }
            let mut stream = match accepted {
                Some(stream) => stream,
                None => trial.must("a connection is lost with the accept that was dropped", listener.accept()).await.0,
            };
            let mut number = [0];
            trial.must("a connection says nothing", stream.read_exact(&mut number)).await;
            assert!(number == [round], "connection {number:?} is accepted in place of {round}");
        }
    });
}

/// Polls an `accept` `polls` times, each time it wakes, and drops it.
async fn accept_in_polls<L: Net>(trial: &Trial<L>, listener: &mut L::Listener, polls: u32) -> Option<L::Stream> {
    let (mut accept, mut polled) = (pin!(listener.accept()), 0);
    let accepted = poll_fn(|cx| {
        polled += 1;
        match accept.as_mut().poll(cx) {
            Poll::Ready(accepted) => Poll::Ready(accepted.map(Some)),
            Poll::Pending if polled == polls => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        }
    });
    trial.must("an accept does not wake for a client that is there", accepted).await.map(|(stream, _)| stream)
}

/// Checks that the loop, held while 400 sockets get something to read, then reads them all.
pub fn four_hundred_sockets_ready_at_once_are_all_seen<L: Net>(subject: &Subject<L>) {
    const SOCKETS: usize = 400;
    on(subject, async |trial: Trial<L>| {
        let mut peers = Vec::new();
        let mut readers = Vec::new();
        for _ in 0..SOCKETS {
            let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
            let mut stream = trial.cx.stream(ours).unwrap_or_else(|error| panic!("a socket is not taken: {error}"));
            peers.push(theirs);
            readers.push(trial.cx.spawn_local(async move { stream.read_exact(&mut [0; 1]).await }));
        }
        // All wait by now; from here on the loop looks at nothing until all have something.
        trial.let_others_run().await;
        for peer in &mut peers {
            peer.write_all(&[1]).expect("there is room");
        }
        for (number, reader) in readers.into_iter().enumerate() {
            let wrong = format!("socket {number} of {SOCKETS} is not seen to be ready");
            trial.must(&wrong, async { ended(reader).await? }).await;
        }
    });
}

/// Checks the last bytes and the end that arrive together: a reader that reads the bytes, fewer than fit, still hears
/// of the end.
pub fn a_reader_is_told_of_the_end_that_came_with_the_last_bytes<L: Net>(subject: &Subject<L>) {
    on(subject, async |trial: Trial<L>| {
        let (mut listener, address) = trial.listen();
        let mut client = TcpStream::connect(address).expect("it listens");
        let (mut stream, _) = trial.must("a client is not accepted", listener.accept()).await;
        client.write_all(b"end").expect("it is connected");
        drop(client);
        let mut text = Vec::new();
        let mut buffer = [0; 64];
        loop {
            match trial.must("the end that came with the last bytes is not told", stream.read(&mut buffer)).await {
                0 => break,
                count => text.extend_from_slice(&buffer[..count]),
            }
        }
        assert!(text == b"end", "the last bytes came as {:?}", text.escape_ascii().to_string());
    });
}

/// Checks that a pipe is ready for writing until it is full, and again when it is read; and ready for reading when
/// there is something in it.
pub fn a_watched_pipe_says_when_it_can_be_read_and_written<L: WatchFd>(subject: &Subject<L>) {
    on(subject, async |trial: Trial<L>| {
        // This is as good as a pipe, and std can make it nonblocking.
        let (mut reader, mut writer) = UnixStream::pair().expect("a pair of sockets");
        reader.set_nonblocking(true).expect("nonblocking");
        writer.set_nonblocking(true).expect("nonblocking");
        let (readable, writable) = (watch(&trial, &reader), watch(&trial, &writer));
        for _ in 0..3 {
            let filled = fill(&mut writer);
            writable.clear(Interest::Write);
            assert!(!is_ready(&writable, Interest::Write).await, "a full socket is said to be ready to be written");
            let (mut read, mut buffer) = (0, vec![0; 64 * 1024]);
            while read < filled {
                trial.must("a filled socket is not ready to be read", readable.ready(Interest::Read)).await;
                match reader.read(&mut buffer) {
                    Ok(count) => read += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => readable.clear(Interest::Read),
                    Err(error) => panic!("the socket broke: {error}"),
                }
            }
            readable.clear(Interest::Read);
            assert!(!is_ready(&readable, Interest::Read).await, "an empty socket is said to be ready to be read");
            trial.must("a drained socket is not ready to be written", writable.ready(Interest::Write)).await;
        }
    });
}

fn watch<L: WatchFd>(trial: &Trial<L>, socket: impl AsFd) -> L::Watch {
    let descriptor = socket.as_fd().try_clone_to_owned().expect("a descriptor");
    trial.cx.watch(descriptor).unwrap_or_else(|error| panic!("a socket can't be watched: {error}"))
}

async fn is_ready(watch: &impl Watch, interest: Interest) -> bool {
    poll_fn(|cx| Poll::Ready(watch.poll_ready(interest, cx).is_ready())).await
}

fn fill(writer: &mut UnixStream) -> usize {
    let mut filled = 0;
    loop {
        match writer.write(&[0; 4096]) {
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return filled,
            Err(error) => panic!("the socket broke: {error}"),
        }
    }
}

/// Checks that TCP's out-of-band byte is reported as urgent.
pub fn urgent_data_is_told<L: WatchFd>(subject: &Subject<L>) {
    on(subject, async |trial: Trial<L>| {
        let (mut ours, theirs) = tcp_pair();
        ours.set_nonblocking(true).expect("nonblocking");
        let watch = watch(&trial, &ours);
        assert!(!is_ready(&watch, Interest::Urgent).await, "urgent data is told before there is any");
        SockRef::from(&theirs).send_out_of_band(b"!").expect("it is connected");
        trial.must("urgent data is not told", watch.ready(Interest::Urgent)).await;
        drop(theirs);
        let _ = ours.read(&mut [0; 1]);
    });
}

/// Checks that a server learns how its clients end their connections while nobody reads them: by `Ends` of
/// interloop-listen, an epoll instance in the loop.
///
/// It is told of each client that has finished, and of each that is gone, once each and whenever that happens. It is
/// not told of what clients send.
pub fn the_ends_of_connections_that_nobody_reads_are_told<L: Net>(subject: &Subject<L>) {
    if !cfg!(target_os = "linux") {
        return;
    }
    on(subject, async |trial: Trial<L>| {
        let ends = Ends::new(&trial.cx).unwrap_or_else(|error| panic!("an epoll instance can't be watched: {error}"));
        let handle = ends.handle();
        let (mut listener, address) = trial.listen();
        for round in 0..3 {
            for how in [Ending::Finishes, Ending::Resets, Ending::FinishesAndResets] {
                let mut client = TcpStream::connect(address).expect("it listens");
                let (stream, _) = trial.must("a client is not accepted", listener.accept()).await;
                let end = Arc::<End>::default();
                let watched = handle.watch(L::socket(&stream), &end);
                let watched = watched.unwrap_or_else(|error| panic!("a connection can't be watched: {error}"));
                client.write_all(b"what nobody reads").expect("it is connected");
                let polled = poll_fn(|cx| Poll::Ready(ends.poll(cx))).await;
                assert!(polled.is_ok(), "a watched epoll instance broke: {polled:?}");
                assert!(!end.is_finished(), "a client that sends is said to have finished");
                let wrong = format!("in round {round} it is not told that a client {how}");
                if how != Ending::Resets {
                    client.shutdown(Shutdown::Write).expect("it is connected");
                    trial.must(&wrong, told(&ends, || end.is_finished())).await;
                    assert!(!end.is_broken(), "a client that has finished is said to be gone");
                }
                if how != Ending::Finishes {
                    SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("it is a socket");
                    drop(client);
                    trial.must(&wrong, told(&ends, || end.is_broken())).await;
                }
                drop(watched);
            }
        }
    });
}

/// Polls the ends until this condition holds.
async fn told(ends: &Ends, mut holds: impl FnMut() -> bool) -> io::Result<()> {
    poll_fn(|cx| {
        ends.poll(cx)?;
        if holds() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Finishes,
    Resets,
    FinishesAndResets,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finishes => "finishes",
            Self::Resets => "resets",
            Self::FinishesAndResets => "finishes and then resets",
        })
    }
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    (listener.accept().expect("a client").0, client)
}

/// Checks timers of a loop that has nothing else to do: they fire in the order of their times, none early, also one
/// that was set later for an earlier time.
pub fn a_timer_wakes_a_loop_at_rest<L: Net>(subject: &Subject<L>) {
    on(subject, async |trial: Trial<L>| {
        // This is a listening socket, so that the sockets' side of the loop is there too.
        let _listener = trial.listen();
        let begun = Instant::now();
        let times = [60, 20, 40].map(Duration::from_millis);
        let sleeps = times.map(|time| {
            let sleep = trial.cx.sleep(time);
            trial.cx.spawn_local(async move {
                sleep.await;
                begun.elapsed()
            })
        });
        let mut woken = Vec::new();
        for (time, sleep) in times.into_iter().zip(sleeps) {
            let rung = trial.unless_lost(time, ended(sleep)).await.expect("a child ends");
            assert!(rung >= time, "a timer of {time:?} is early: it rings after {rung:?}");
            woken.push(rung);
        }
        let in_order = woken[1] <= woken[2] && woken[2] <= woken[0];
        assert!(in_order, "timers of {times:?} ring in another order: after {woken:?}");
    });
}

/// Checks that a timer is neither lost nor early while sockets are busy.
pub fn timers_run_beside_sockets<L: Net>(subject: &Subject<L>) {
    on(subject, async |trial: Trial<L>| {
        let (client, server) = trial.pair().await;
        for stream in [client, server] {
            // Each sends what it got to the other, for ever.
            let (reader, mut writer) = stream.split();
            let bounce = async move {
                writer.write_all(b"ball").await?;
                futures_util::io::copy(reader, &mut writer).await
            };
            trial.cx.spawn_local(bounce).detach();
        }
        for milliseconds in [1, 10, 50] {
            trial.sleep(Duration::from_millis(milliseconds)).await;
        }
    });
}

/// Checks that bytes come and go while jobs post themselves again, so that the loop's queue is never empty.
pub fn a_flood_of_posts_starves_no_socket<L: Net>(subject: &Subject<L>) {
    on(subject, async move |trial: Trial<L>| {
        let (mut client, mut server) = trial.pair().await;
        let flood = Arc::new(Flood { is_over: false.into(), until: Instant::now() + trial.soon / 2 });
        let remote = trial.cx.share(());
        // While one of them runs, the other is in the queue.
        repost(remote.clone(), flood.clone());
        repost(remote, flood.clone());
        for round in 0..50_u8 {
            let ball = async {
                client.write_all(&[round]).await?;
                server.read_exact(&mut [0; 1]).await?;
                server.write_all(&[round]).await?;
                client.read_exact(&mut [0; 1]).await
            };
            trial.must("a ball is not played", ball).await;
            // The flood gives up by itself: a loop that starves its sockets might starve its timers too.
            assert!(Instant::now() < flood.until, "a flood of posts starves the sockets: in round {round}");
        }
        flood.is_over.store(true, Ordering::Release);
    });
}

struct Flood {
    is_over: AtomicBool,
    until: Instant,
}

fn repost(remote: Remote<()>, flood: Arc<Flood>) {
    if flood.is_over.load(Ordering::Acquire) || Instant::now() >= flood.until {
        return;
    }
    let next = remote.clone();
    // It stops with the loop.
    let _ = remote.post(move |()| repost(next, flood));
}

/// Checks that the loop's thread is not woken by a listening socket and open connections on which nothing happens.
pub fn open_sockets_cost_no_wakeups<L: Net>(subject: &Subject<L>) {
    const WATCHED: Duration = Duration::from_millis(700);
    let allowed = {
        let subject = subject.clone();
        move |time| subject.beats_in(time)
    };
    let has_beat = subject.beat().is_some();
    on(subject, async move |trial: Trial<L>| {
        let (mut listener, address) = trial.listen();
        let both = try_join(trial.cx.connect(address), listener.accept());
        let (ours, (theirs, _)) = trial.must("a client of the same loop is not connected", both).await;
        let mut streams = [ours, theirs];
        for stream in &mut streams {
            let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut [0; 1]))).await;
            assert!(polled.is_pending(), "a stream says {polled:?} where nothing was sent");
        }
        // A thread counts, and tells the loop of its end through a socket: the loop has nothing to do until then.
        let (told, mut tell) = UnixStream::pair().expect("a pair of sockets");
        let mut told = trial.cx.stream(told).unwrap_or_else(|error| panic!("a socket is not taken: {error}"));
        let this = fs::read_link("/proc/thread-self").expect("Linux");
        let status = Path::new("/proc").join(this).join("status");
        let counting = thread::spawn(move || {
            let begun = Instant::now();
            let mut before = Rest::look(&status);
            // Wait until it has come to rest, unless it never does.
            let rests = loop {
                thread::sleep(Duration::from_millis(20));
                let now = Rest::look(&status);
                let is_at_rest = now.rests && (std::mem::replace(&mut before, now) == now || has_beat);
                if is_at_rest || begun.elapsed() > WATCHED * 3 / 4 {
                    break is_at_rest;
                }
            };
            // The wait is for time itself. It is done twice at most, since io_uring may wake a thread within the
            // system, which the loop never hears of.
            let watch = || {
                let (watched, before) = (Instant::now(), Rest::look(&status));
                thread::sleep(WATCHED);
                let times = Rest::look(&status).times - before.times;
                times.saturating_sub(allowed(watched.elapsed()))
            };
            let woken = if watch() == 0 { 0 } else { watch() };
            tell.write_all(&[1]).expect("the loop is there");
            (rests, woken)
        });
        // A timer would be a wakeup of the check's own.
        told.read_exact(&mut [0; 1]).await.unwrap_or_else(|error| panic!("a stream broke: {error}"));
        let (rests, woken) = counting.join().expect("no panic");
        assert!(woken == 0, "open sockets wake the loop: {woken} times within {WATCHED:?}");
        assert!(rests, "the loop spins beside open sockets: it does not come to rest");
        drop(streams);
    });
}

/// The system's view of a thread: whether it is at rest now, and how often it has gone to rest so far.
#[derive(Clone, Copy, PartialEq)]
struct Rest {
    rests: bool,
    times: u64,
}

impl Rest {
    fn look(status: &Path) -> Self {
        let status = fs::read_to_string(status).expect("the thread is there");
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let times = field("voluntary_ctxt_switches:").and_then(|times| times.parse().ok()).expect("Linux counts them");
        Self { rests: field("State:").is_some_and(|state| state.starts_with('S')), times }
    }
}

/// Checks that no descriptor is left when service after service opens sockets on its loop, and leaves some to their
/// task's end.
pub fn what_was_opened_is_closed_at_the_end<L: Net>(subject: &Subject<L>) {
    const RUNS: usize = 20;
    let run = || {
        on(subject, async |trial: Trial<L>| {
            let (mut ours, theirs) = trial.pair().await;
            // The child waits for ever, and holds both.
            let wait = async move {
                let _theirs = theirs;
                ours.read(&mut [0; 1]).await
            };
            trial.cx.spawn_local(wait).detach();
            trial.let_others_run().await;
        });
    };
    // What a runtime opens once for the process stays open.
    run();
    let before = descriptors();
    for _ in 0..RUNS {
        run();
    }
    let after = descriptors();
    assert!(after == before, "descriptors were left open: {before} before {RUNS} runs, {after} after them");
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("Linux").count()
}
