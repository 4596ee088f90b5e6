//! Sockets and readiness.

use std::{
    fs,
    future::{Future, poll_fn},
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use futures_util::{AsyncReadExt, AsyncWriteExt, future::try_join};
use interloop::{
    Context,
    net::{Accept, Address, AsyncRead, AsyncWrite, Bound, Interest, Net, Watch},
};
use socket2::SockRef;

use crate::{Subject, on_loop, scene::sized};

/// After which what should have happened has not.
const SOON: Duration = Duration::from_secs(10);

fn listen<L: Net>(cx: &Context<L>) -> (L::Listener, std::net::SocketAddr) {
    let bound = Bound::tcp((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let listener = cx.listen(bound).expect("the loop takes a listening socket");
    let address = listener.address().tcp().expect("it listens on TCP");
    (listener, address)
}

/// A byte that depends on its place in the stream.
fn byte(place: usize) -> u8 {
    (place ^ (place >> 8) ^ (place >> 16)) as u8
}

/// Sends so many bytes, then no more; receives as many and the end.
async fn send_and_receive(stream: impl AsyncRead + AsyncWrite, length: usize, who: &'static str) {
    let (mut reader, mut writer) = stream.split();
    let send = async {
        let mut sent = 0;
        while sent < length {
            let chunk: Vec<u8> = (sent..length.min(sent + 60_000)).map(byte).collect();
            writer.write_all(&chunk).await?;
            sent += chunk.len();
        }
        writer.close().await
    };
    let receive = async {
        let (mut received, mut buffer) = (0, vec![0; 64 * 1024]);
        loop {
            match reader.read(&mut buffer).await? {
                0 => break,
                count => {
                    let wrong = (0..count).find(|&place| buffer[place] != byte(received + place));
                    assert_eq!(wrong.map(|place| received + place), None, "{who}: a wrong byte at this place");
                    received += count;
                }
            }
        }
        assert_eq!(received, length, "{who}: bytes were lost, or came twice");
        Ok(())
    };
    if let Err(error) = try_join(send, receive).await {
        panic!("{who}: the stream broke: {error}");
    }
}

async fn both_ways<L: Net>(cx: Context<L>, mut listener: L::Listener, address: Address) {
    let length = sized(4 << 20, 64 << 20);
    let client = cx.connect(address);
    let (client, accepted) =
        try_join(client, listener.accept()).await.expect("a client connects to a socket of the same loop");
    let client = cx.spawn_local(send_and_receive(client, length, "client"));
    send_and_receive(accepted.0, length, "server").await;
    client.await.expect("the client gets all");
}

/// 64 MiB (4 at CI's size) go both ways at once between two tasks of the loop, and arrive in order, each byte.
pub fn a_stream_of_tcp_carries_every_byte_both_ways<L: Net>(subject: &Subject<L>) {
    on_loop(subject, async |cx: Context<L>| {
        let (listener, address) = listen(&cx);
        both_ways(cx, listener, address.into()).await;
    });
}

/// The same by a Unix socket; its file is gone at the end.
pub fn a_unix_stream_carries_every_byte_both_ways<L: Net>(subject: &Subject<L>) {
    let folder = tempfile::tempdir().expect("a folder for the socket");
    let path = folder.path().join("socket");
    let place = path.clone();
    on_loop(subject, async |cx: Context<L>| {
        let bound = Bound::unix(&place, 0o600, None).expect("a Unix socket");
        let listener = cx.listen(bound).expect("the loop takes a Unix socket");
        assert_eq!(*listener.address(), Address::Unix(place.clone()));
        both_ways(cx, listener, place.into()).await;
    });
    assert!(!path.exists(), "the socket's file is left");
}

/// A client that has closed its sending half gets the answer that comes after.
pub fn who_stops_sending_still_receives<L: Net>(subject: &Subject<L>) {
    on_loop(subject, async |cx: Context<L>| {
        let (mut listener, address) = listen(&cx);
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"question")?;
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, io::Error>(answer)
        });
        let (mut stream, from) = listener.accept().await.expect("a client");
        assert!(from.tcp().is_some_and(|from| from.ip().is_loopback()), "the client comes from {from}");
        let mut question = String::new();
        stream.read_to_string(&mut question).await.expect("the question, and its end");
        assert_eq!(question, "question");
        stream.write_all(b"answer").await.expect("the other half is open");
        stream.close().await.expect("it closes");
        drop(stream);
        assert_eq!(client.join().expect("no panic").expect("no error"), "answer");
    });
}

/// A connection that the peer resets in the middle is an error.
pub fn a_reset_by_the_peer_is_an_error_and_not_an_end<L: Net>(subject: &Subject<L>) {
    on_loop(subject, async |cx: Context<L>| {
        let (mut listener, address) = listen(&cx);
        let client = TcpStream::connect(address).expect("it listens");
        let (mut stream, _) = listener.accept().await.expect("a client");
        let reading = cx.spawn_local(async move { stream.read(&mut [0; 16]).await.map_err(|error| error.kind()) });
        // The read waits by now: tasks of one loop run in turn.
        cx.spawn_local(async {}).await.expect("a child ends");
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("linger");
        drop(client);
        let read = reading.await.expect("the child ends");
        assert_eq!(read, Err(io::ErrorKind::ConnectionReset), "a reset came as something else");
    });
}

/// A thousand (200 at CI's size) clients are connected at the same time, and each is answered.
pub fn a_thousand_connections_at_once_are_all_served<L: Net>(subject: &Subject<L>) {
    // Two descriptors a connection, in one process.
    let clients = sized(200, 1000);
    on_loop(subject, async move |cx: Context<L>| {
        let (mut listener, address) = listen(&cx);
        let asking = (0..clients).map(|number| {
            let stream = cx.connect(address);
            cx.spawn_local(async move {
                let mut stream = stream.await?;
                stream.write_all(&(number as u32).to_be_bytes()).await?;
                let mut answer = [0; 4];
                stream.read_exact(&mut answer).await?;
                Ok::<_, io::Error>(u32::from_be_bytes(answer))
            })
        });
        let asking: Vec<_> = asking.collect();
        let mut open = Vec::new();
        for _ in 0..clients {
            open.push(listener.accept().await.expect("each connects").0);
        }
        for mut stream in open {
            let answer = async move {
                let mut question = [0; 4];
                stream.read_exact(&mut question).await?;
                stream.write_all(&question).await
            };
            cx.spawn_local(answer).detach();
        }
        for (number, asked) in asking.into_iter().enumerate() {
            let answer = asked.await.expect("a client ends").unwrap_or_else(|error| panic!("client {number}: {error}"));
            assert_eq!(answer, number as u32, "a client got the answer of another");
        }
    });
}

/// A connect to a port where nobody listens says so.
pub fn where_nobody_listens_a_connect_is_refused<L: Net>(subject: &Subject<L>) {
    on_loop(subject, async |cx: Context<L>| {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let refused = cx.connect(free.expect("a free port")).await.map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::ConnectionRefused));
        let folder = tempfile::tempdir().expect("a folder");
        let missing = cx.connect(folder.path().join("none")).await.map(drop).map_err(|error| error.kind());
        assert_eq!(missing, Err(io::ErrorKind::NotFound));
    });
}

/// An `accept` that was polled, and dropped, takes no connection along.
pub fn an_accept_that_is_dropped_loses_no_connection<L: Net>(subject: &Subject<L>) {
    on_loop(subject, async |cx: Context<L>| {
        let (mut listener, address) = listen(&cx);
        let mut clients = Vec::new();
        for round in 0..20_u8 {
            // Once before the client is there, once after, when it may be ready.
            for connects in [false, true] {
                if connects {
                    let mut client = TcpStream::connect(address).expect("it listens");
                    client.write_all(&[round]).expect("it is connected");
                    clients.push(client);
                }
                let mut accept = pin!(listener.accept());
                let polled = poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx))).await;
                if let Poll::Ready(accepted) = polled {
                    check_number(accepted.expect("a client").0, round).await;
                    clients.pop();
                }
            }
            if clients.pop().is_some() {
                let (stream, _) = listener.accept().await.expect("a connection was lost");
                check_number(stream, round).await;
            }
        }
    });
}

async fn check_number(mut stream: impl AsyncRead + Unpin, expected: u8) {
    let mut number = [0];
    stream.read_exact(&mut number).await.expect("its number");
    assert_eq!(number, [expected], "connections came out of order, or got lost");
}

/// The loop is held while 400 sockets get something to read: then all are read.
pub fn four_hundred_sockets_ready_at_once_are_all_seen<L: Net>(subject: &Subject<L>) {
    const SOCKETS: usize = 400;
    on_loop(subject, async |cx: Context<L>| {
        let mut peers = Vec::new();
        let mut readers = Vec::new();
        for _ in 0..SOCKETS {
            let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
            let mut stream = cx.stream(ours).expect("the loop takes a socket");
            peers.push(theirs);
            readers.push(cx.spawn_local(async move { stream.read_exact(&mut [0; 1]).await.map_err(|e| e.kind()) }));
        }
        // All wait by now; and from here on the loop looks at nothing until all have something.
        cx.spawn_local(async {}).await.expect("a child ends");
        for peer in &mut peers {
            peer.write_all(&[1]).expect("there is room");
        }
        let deadline = Instant::now() + SOON;
        for (number, reader) in readers.into_iter().enumerate() {
            let read = cx.timeout(deadline.saturating_duration_since(Instant::now()), reader).await;
            let read = read.unwrap_or_else(|_| panic!("socket {number} of {SOCKETS} was never seen to be ready"));
            assert_eq!(read.expect("a child ends"), Ok(()));
        }
    });
}

/// The last bytes and the end arrive together: whoever reads the bytes, fewer than fit, still hears of the end.
pub fn a_reader_is_told_of_the_end_that_came_with_the_last_bytes<L: Net>(subject: &Subject<L>) {
    on_loop(subject, async |cx: Context<L>| {
        let (mut listener, address) = listen(&cx);
        let mut client = TcpStream::connect(address).expect("it listens");
        let (mut stream, _) = listener.accept().await.expect("a client");
        client.write_all(b"end").expect("it is connected");
        drop(client);
        let mut buffer = [0; 64];
        let mut text = Vec::new();
        loop {
            let read = cx.timeout(SOON, stream.read(&mut buffer)).await.expect("the end is never told");
            match read.expect("no error") {
                0 => break,
                count => text.extend_from_slice(&buffer[..count]),
            }
        }
        assert_eq!(text, b"end");
    });
}

/// A pipe is ready to be written until it is full, and again when it is read; and ready to be read when something is in it.
pub fn a_watched_pipe_says_when_it_can_be_read_and_written<L: Net>(subject: &Subject<L>) {
    on_loop(subject, async |cx: Context<L>| {
        // As good as a pipe, and std can make it nonblocking.
        let (mut reader, mut writer) = UnixStream::pair().expect("a pair of sockets");
        reader.set_nonblocking(true).expect("nonblocking");
        writer.set_nonblocking(true).expect("nonblocking");
        let watched = |stream: &UnixStream| OwnedFd::from(stream.try_clone().expect("a descriptor"));
        let readable = cx.watch(watched(&reader)).expect("a socket can be watched");
        let writable = cx.watch(watched(&writer)).expect("a socket can be watched");
        for _ in 0..3 {
            let filled = fill(&mut writer);
            writable.clear(Interest::Write);
            let polled = poll_fn(|cx| Poll::Ready(writable.poll_ready(Interest::Write, cx))).await;
            assert!(polled.is_pending(), "a full socket is said to be ready");
            let drain = async {
                let (mut read, mut buffer) = (0, vec![0; 64 * 1024]);
                while read < filled {
                    readable.ready(Interest::Read).await?;
                    match reader.read(&mut buffer) {
                        Ok(count) => read += count,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => readable.clear(Interest::Read),
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            };
            let both = try_join(drain, writable.ready(Interest::Write));
            cx.timeout(SOON, both).await.expect("a drained socket is never said to be ready").expect("no error");
        }
    });
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

/// TCP's out-of-band byte is told as urgent.
pub fn urgent_data_is_told<L: Net>(subject: &Subject<L>) {
    on_loop(subject, async |cx: Context<L>| {
        let (mut ours, theirs) = tcp_pair();
        ours.set_nonblocking(true).expect("nonblocking");
        let watch = cx.watch(OwnedFd::from(ours.try_clone().expect("a descriptor"))).expect("a socket can be watched");
        let polled = poll_fn(|cx| Poll::Ready(watch.poll_ready(Interest::Urgent, cx))).await;
        assert!(polled.is_pending(), "urgent data before there is any");
        SockRef::from(&theirs).send_out_of_band(b"!").expect("it is connected");
        cx.timeout(SOON, watch.ready(Interest::Urgent)).await.expect("urgent data is never told").expect("no error");
        drop(theirs);
        let _ = ours.read(&mut [0; 1]);
    });
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    (listener.accept().expect("a client").0, client)
}

/// Timers of a loop that has nothing else to do: in the order of their times, none early, a later one set before an earlier one.
pub fn a_timer_wakes_a_loop_at_rest<L: Net>(subject: &Subject<L>) {
    on_loop(subject, async |cx: Context<L>| {
        // A listening socket, so that the sockets' side of the loop is there too.
        let _listener = listen(&cx);
        let begun = Instant::now();
        let times = [60, 20, 40].map(Duration::from_millis);
        let sleeps = times.map(|time| {
            let sleep = cx.sleep(time);
            cx.spawn_local(async move {
                sleep.await;
                begun.elapsed()
            })
        });
        let mut woken = Vec::new();
        for sleep in sleeps {
            let sleep = cx.timeout(SOON, sleep).await.expect("a timer got lost");
            woken.push(sleep.expect("a child ends"));
        }
        for (time, woken) in times.into_iter().zip(&woken) {
            assert!(*woken >= time, "a timer of {time:?} was early: {woken:?}");
        }
        assert!(woken[1] <= woken[2] && woken[2] <= woken[0], "timers of {times:?} came in another order: {woken:?}");
    });
}

/// While sockets are busy, a timer is neither lost nor early, nor much too late.
pub fn timers_run_beside_sockets<L: Net>(subject: &Subject<L>) {
    on_loop(subject, async |cx: Context<L>| {
        let (mut listener, address) = listen(&cx);
        let client = cx.connect(address);
        let (client, accepted) = try_join(client, listener.accept()).await.expect("a connection");
        for stream in [client, accepted.0] {
            // Each sends what it got to the other, for ever.
            let (reader, mut writer) = stream.split();
            let bounce = async move {
                writer.write_all(b"ball").await?;
                futures_util::io::copy(reader, &mut writer).await
            };
            cx.spawn_local(bounce).detach();
        }
        for milliseconds in [1, 10, 50] {
            let time = Duration::from_millis(milliseconds);
            let begun = Instant::now();
            cx.timeout(SOON, cx.sleep(time)).await.expect("a timer got lost");
            assert!(begun.elapsed() >= time, "a timer of {time:?} was early: {:?}", begun.elapsed());
        }
    });
}

/// With a listening socket and open connections on which nothing happens, the loop's thread is not woken.
pub fn open_sockets_cost_no_wakeups<L: Net>(subject: &Subject<L>) {
    const WATCHED: Duration = Duration::from_secs(1);
    on_loop(subject, async |cx: Context<L>| {
        let (mut listener, address) = listen(&cx);
        let (ours, theirs) = try_join(cx.connect(address), listener.accept()).await.expect("a connection");
        let mut streams = [ours, theirs.0];
        for stream in &mut streams {
            let polled = poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *stream).poll_read(cx, &mut [0; 1]))).await;
            assert!(polled.is_pending(), "nothing was sent");
        }
        let thread = fs::read_link("/proc/thread-self").expect("Linux");
        let (said, counted) = (cx.service().clone(), mpsc::channel());
        let status = std::path::Path::new("/proc").join(thread).join("status");
        let counter = thread::spawn(move || {
            let _said = said;
            // Until it has come to rest.
            let mut before = switches(&status);
            loop {
                thread::sleep(Duration::from_millis(20));
                let now = switches(&status);
                if now == before {
                    break;
                }
                before = now;
            }
            // It is time itself that is watched here.
            thread::sleep(WATCHED);
            let woken = switches(&status) - before;
            let _ = counted.0.send(woken);
            woken
        });
        // The loop has nothing to do until this thread's end is told through a socket.
        let (mut told, mut tell) = UnixStream::pair().expect("a pair of sockets");
        told.set_nonblocking(true).expect("nonblocking");
        let mut watched = cx.stream(told.try_clone().expect("a descriptor")).expect("the loop takes a socket");
        let waiting = thread::spawn(move || {
            let woken = counter.join().expect("no panic");
            tell.write_all(&[1]).expect("the loop is there");
            woken
        });
        watched.read_exact(&mut [0; 1]).await.expect("it is told");
        let _ = told.read(&mut [0; 1]);
        let woken = waiting.join().expect("no panic");
        assert_eq!(woken, 0, "the loop's thread was woken {woken} times within {WATCHED:?}, for nothing");
        assert_eq!(counted.1.recv(), Ok(woken));
        drop(streams);
    });
}

/// How often a thread has gone to rest so far.
fn switches(status: &std::path::Path) -> u64 {
    let status = fs::read_to_string(status).expect("the thread is there");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("Linux counts them")
}

/// Service after service opens sockets on its loop, and leaves some to their task's end: no descriptor is left.
pub fn what_was_opened_is_closed_at_the_end<L: Net>(subject: &Subject<L>) {
    let run = || {
        on_loop(subject, async |cx: Context<L>| {
            let (mut listener, address) = listen(&cx);
            let (ours, theirs) = try_join(cx.connect(address), listener.accept()).await.expect("a connection");
            let mut ours = ours;
            // It waits for ever, and holds both.
            cx.spawn_local(async move {
                let _theirs = theirs;
                ours.read(&mut [0; 1]).await
            })
            .detach();
            cx.spawn_local(async {}).await.expect("a child ends");
        });
    };
    // What a runtime opens once for the process stays open.
    run();
    let before = descriptors();
    for _ in 0..20 {
        run();
    }
    assert_eq!(descriptors(), before, "descriptors were left open");
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("Linux").count()
}

/// While another thread posts as fast as it can, bytes still come and go.
pub fn a_flood_of_posts_starves_no_socket<L: Net>(subject: &Subject<L>) {
    let over = Arc::new(AtomicBool::new(false));
    let ended = over.clone();
    on_loop(subject, async move |cx: Context<L>| {
        let (mut listener, address) = listen(&cx);
        let remote = cx.share(());
        let flood = thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                // Full, now and then: it is faster than the loop.
                let _ = remote.post(|()| ());
            }
        });
        let (mut client, (mut server, _)) =
            try_join(cx.connect(address), listener.accept()).await.expect("a connection under a flood of posts");
        for round in 0..50_u8 {
            let ball = async {
                client.write_all(&[round]).await?;
                server.read_exact(&mut [0; 1]).await?;
                server.write_all(&[round]).await?;
                client.read_exact(&mut [0; 1]).await
            };
            let played = cx.timeout(SOON, ball).await;
            played.unwrap_or_else(|_| panic!("a flood of posts starves the sockets: round {round}")).expect("no error");
        }
        ended.store(true, Ordering::Release);
        flood.join().expect("no panic");
    });
}
