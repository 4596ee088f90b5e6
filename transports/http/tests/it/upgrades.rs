//! Connections that leave HTTP.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::mpsc,
    time::{Duration, Instant},
};

use crate::util::{Handler, PATIENCE, block_on, eventually, watchdog};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    rt::{Read as _, ReadBuf, Write as _},
    upgrade::{OnUpgrade, Upgraded},
};
use interloop::{Context, NoOptions, Remote, Service, Thread, net::Net, task_fn};
use interloop_http::{Body, HttpServer};

/// Lets the connection echo its input in capitals, once.
async fn shout(upgrade: OnUpgrade) -> std::io::Result<()> {
    let mut connection = upgrade.await.map_err(std::io::Error::other)?;
    let said = read(&mut connection).await?.to_ascii_uppercase();
    let mut connection = std::pin::Pin::new(&mut connection);
    let written = std::future::poll_fn(|cx| connection.as_mut().poll_write(cx, &said)).await?;
    assert_eq!(written, said.len());
    std::future::poll_fn(|cx| connection.as_mut().poll_shutdown(cx)).await
}

async fn read(connection: &mut Upgraded) -> std::io::Result<Vec<u8>> {
    let mut bytes = [0; 64];
    let mut bytes = ReadBuf::new(&mut bytes);
    std::future::poll_fn(|cx| std::pin::Pin::new(&mut *connection).poll_read(cx, bytes.unfilled())).await?;
    Ok(bytes.filled().to_vec())
}

fn switching() -> Response<Full<Bytes>> {
    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let response = response.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "shouting");
    response.body(Full::default()).expect("it is a response")
}

fn ask(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: shouting\r\n\r\n";
    stream.write_all(request).expect("it is open");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
}

fn an_upgraded_connection_belongs_to_the_handler<L: Net>() {
    let _watchdog = watchdog();
    let mut service = Service::new("test");
    // The server and the holders of upgraded connections share a loop.
    service.event_loop("io", L::default());
    let (slot, place) = service.slot::<Context<L>>("shouters");
    let shouters = task_fn::<L>(async move |cx: Context<L, NoOptions>| {
        let _place = cx.fill(slot, cx.clone());
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("shouters", shouters).on("io");
    let server = HttpServer::new(Handler(move |request: Request<Body>| {
        let place: Remote<Context<L>> = place.clone();
        async move {
            let upgrade = hyper::upgrade::on(request);
            place.spawn(|_| shout(upgrade)).detach();
            switching()
        }
    }));
    let addresses = server.addresses();
    service.task_on::<L>("http", server).on("io");
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started_timeout(PATIENCE), "{}", running.status());
    let mut stream = TcpStream::connect(addresses.tcp().expect("it listens")).expect("it listens");
    ask(&mut stream);
    stream.write_all(b"hello").expect("it is open");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("it ends");
    assert_eq!(said, "HELLO");
    assert_eq!(running.stop().code, 0);
}

#[test]
fn on_another_thread_an_upgraded_connection_is_refused_and_closed() {
    let _watchdog = watchdog();
    let (send, given) = mpsc::channel();
    let server = HttpServer::new(Handler(move |request: Request<Body>| {
        let upgrade = hyper::upgrade::on(request);
        send.send(upgrade).expect("it is waited for");
        async { switching() }
    }));
    let hosting = crate::util::host::<Thread, _>(server, &[]);
    let mut stream = TcpStream::connect(hosting.port()).expect("it listens");
    ask(&mut stream);
    let upgrade = given.recv_timeout(PATIENCE).expect("the handler sends it");
    let mut connection = block_on(upgrade).expect("it is upgraded");
    let error = block_on(read(&mut connection)).expect_err("this is not the loop's thread");
    assert_eq!(error.to_string(), "the connection works on its loop's thread alone");
    drop(connection);
    assert_eq!(stream.read(&mut [0]).expect("it is closed in order"), 0);
    eventually("no connection is open", || hosting.counter("open_connections") == 0);
    hosting.stop();
}

/// The behaviour of an upgraded connection's handler that never ends it.
#[derive(Clone, Copy)]
enum Holds {
    Reading,
    Nothing,
}

/// Its handler learns of the stop through the end of its input, or is not waited for: the service ends long before its
/// time limit.
fn at_the_stop_an_upgraded_connection_is_told_and_given_up<L: Net>() {
    let _watchdog = watchdog();
    for holds in [Holds::Reading, Holds::Nothing] {
        let mut service = Service::new("test");
        service.event_loop("io", L::default());
        let (slot, place) = service.slot::<Context<L>>("holders");
        let holders = task_fn::<L>(async move |cx: Context<L, NoOptions>| {
            let _place = cx.fill(slot, cx.clone());
            cx.until_shutdown().await;
            Ok(())
        });
        // It is asked to stop after the server.
        service.task("holders", holders).on("io");
        let server = HttpServer::new(Handler(move |request: Request<Body>| {
            let place: Remote<Context<L>> = place.clone();
            async move {
                let upgrade = hyper::upgrade::on(request);
                let hold = async move |_| {
                    let mut connection = upgrade.await.expect("it is upgraded");
                    if matches!(holds, Holds::Reading) {
                        while read(&mut connection).await.is_ok_and(|bytes| !bytes.is_empty()) {}
                        let mut connection = std::pin::Pin::new(&mut connection);
                        let bye = std::future::poll_fn(|cx| connection.as_mut().poll_write(cx, b"bye"));
                        assert_eq!(bye.await.expect("one may say goodbye"), 3);
                        return;
                    }
                    std::future::pending().await
                };
                place.spawn(hold).detach();
                switching()
            }
        }));
        let addresses = server.addresses();
        service.task_on::<L>("http", server).on("io").requires("holders");
        let running = service.start().expect("the configuration works");
        assert!(running.wait_started_timeout(PATIENCE), "{}", running.status());
        let mut stream = TcpStream::connect(addresses.tcp().expect("it listens")).expect("it listens");
        ask(&mut stream);
        let begun = Instant::now();
        let report = running.stop();
        let limit = if matches!(holds, Holds::Reading) { 1 } else { 6 };
        assert!(report.code == 0 && begun.elapsed() < Duration::from_secs(limit), "{report} in {:?}", begun.elapsed());
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("it ends");
        assert_eq!(said, if matches!(holds, Holds::Reading) { "bye" } else { "" });
    }
}

crate::util::on_each_loop! {
    at_the_stop_an_upgraded_connection_is_told_and_given_up,
    an_upgraded_connection_belongs_to_the_handler,
}
