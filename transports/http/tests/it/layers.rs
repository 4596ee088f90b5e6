//! What axum programs bring along: layers of tower-http, and `ConnectInfo`.

use std::{
    net::{IpAddr, SocketAddr},
    os::unix::net::UnixStream,
    time::Duration,
};

use crate::util::{Client, PATIENCE, connect, hi, host, watchdog};
use axum::{
    Extension, Router,
    extract::ConnectInfo,
    routing::{get, post},
};
use http::{HeaderName, HeaderValue, StatusCode};
use interloop::{Service, Thread, net::Net};
use interloop_http::{HttpServer, Peer};
use interloop_tokio::{Tokio, with_tokio};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::CorsLayer,
    limit::RequestBodyLimitLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    set_header::SetResponseHeaderLayer,
    timeout::TimeoutLayer,
    trace::TraceLayer,
};

fn layers_of_tower_http_work<L: Net>() {
    let _watchdog = watchdog();
    let id = HeaderName::from_static("x-request-id");
    let router = Router::new()
        .route("/", get(async || "hi"))
        .route("/echo", post(async |body: String| body))
        .route("/panic", get(async || -> &'static str { panic!("as it was told") }))
        .layer(SetResponseHeaderLayer::overriding(HeaderName::from_static("x-made-by"), HeaderValue::from_static("us")))
        .layer(CatchPanicLayer::new())
        .layer(RequestBodyLimitLayer::new(4))
        .layer(CorsLayer::permissive())
        .layer(PropagateRequestIdLayer::new(id.clone()))
        .layer(SetRequestIdLayer::new(id, MakeRequestUuid))
        .layer(TraceLayer::new_for_http());
    let hosting = host::<L, _>(HttpServer::new(router), &[]);
    let mut client = connect(hosting.port());
    let got = client.get("/");
    assert_eq!(got.body, "hi");
    for header in ["x-made-by: us\r\n", "access-control-allow-origin: *\r\n", "x-request-id: "] {
        assert!(got.head.contains(header), "{header:?} in {}", got.head);
    }
    // The layer responds, so the server has no panic to count.
    assert_eq!(client.get("/panic").status, 500);
    assert_eq!(hosting.counter("panics"), 0);
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nfour");
    assert_eq!(client.receive().body, "four");
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nfives");
    assert_eq!(client.receive().status, 413);
    hosting.stop();
}

/// It uses tokio's timers, so it works only on tokio.
#[test]
fn its_timeouts_work_on_tokio() {
    let _watchdog = watchdog();
    let router = Router::new()
        .route("/", get(async || std::future::pending::<&'static str>().await))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_millis(20)));
    for arguments in [&[][..], &["--tokio-worker-threads", "2"]] {
        let hosting = host::<Tokio, _>(HttpServer::new(router.clone()), arguments);
        assert_eq!(connect(hosting.port()).get("/").status, 504);
        hosting.stop();
    }
}

/// Elsewhere it is a panic of the handler.
#[test]
fn its_timeouts_panic_elsewhere() {
    let _watchdog = watchdog();
    let router = hi().layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(20)));
    let hosting = host::<Thread, _>(HttpServer::new(router), &[]);
    assert_eq!(connect(hosting.port()).get("/").status, 500);
    assert_eq!(hosting.counter("panics"), 1);
    hosting.stop();
}

/// Does what handlers written for `#[tokio::main]` do.
#[test]
fn handlers_on_tokio_have_all_of_it() {
    let _watchdog = watchdog();
    let work = async || {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let spawned = tokio::spawn(async { 1 }).await.expect("no panic");
        spawned + tokio::task::spawn_blocking(|| 2).await.expect("no panic")
    };
    let router = Router::new()
        .route("/", get(async move || work().await.to_string()))
        .route("/block", get(async || tokio::task::block_in_place(|| "4")));
    for (arguments, block) in [(&[][..], 500), (&["--tokio-worker-threads", "2"], 200)] {
        let hosting = host::<Tokio, _>(HttpServer::new(router.clone()), arguments);
        let mut client = connect(hosting.port());
        assert_eq!(client.get("/").body, "3");
        assert_eq!(client.get("/block").status, block);
        hosting.stop();
    }
}

/// A handler on another loop does, too.
fn with_tokio_brings_its_timers_elsewhere<L: Net>() {
    let _watchdog = watchdog();
    let mut service = Service::new("test");
    let tokio = service.remote_to::<Tokio>();
    let sleep = async move || {
        let here = std::thread::current().id();
        let slept = with_tokio(&tokio, async { tokio::time::sleep(Duration::from_millis(1)).await }).await;
        (slept.is_ok() && std::thread::current().id() == here).to_string()
    };
    let server = HttpServer::new(Router::new().route("/", get(sleep)));
    let addresses = server.addresses();
    service.task_on::<L>("http", server);
    let running = service.start().expect("the configuration works");
    addresses.wait_timeout(PATIENCE).expect("it listens");
    assert_eq!(connect(addresses.tcp().expect("a port")).get("/").body, "true");
    assert_eq!(running.stop().code, 0);
}

fn connect_info_is_there_if_it_is_asked_for<L: Net>() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("http.sock");
    let who = async |from: Option<Extension<ConnectInfo<SocketAddr>>>| match from {
        Some(Extension(ConnectInfo(from))) => from.to_string(),
        None => "unix".to_owned(),
    };
    let router = Router::new()
        .route("/", get(who))
        .route("/must", get(async |ConnectInfo(from): ConnectInfo<SocketAddr>| from.to_string()));
    let server = HttpServer::new(router).host("127.0.0.1").unix(&path);
    let server = server.with_peers_as(|peer| peer.address().map(ConnectInfo));
    let hosting = host::<L, _>(server, &[]);
    let mut client = connect(hosting.port());
    let own = client.stream().local_addr().expect("it is connected").to_string();
    assert_eq!([client.get("/").body, client.get("/must").body], [own.clone(), own]);
    let mut local = Client::new(UnixStream::connect(&path).expect("it listens"));
    assert_eq!(local.get("/").body, "unix");
    assert_eq!(local.get("/must").status, 500);
    hosting.stop();
}

/// Several extensions add up, and a panic affects only its request.
fn what_is_made_of_peers_adds_up<L: Net>() {
    #[derive(Clone)]
    struct Ip(IpAddr);

    let _watchdog = watchdog();
    let router = Router::new().route(
        "/",
        get(async |Extension(peer): Extension<Peer>, Extension(ip): Extension<Ip>| {
            format!("{} {}", peer.address().is_some_and(|address| address.ip() == ip.0), ip.0)
        }),
    );
    let ip = |peer: Peer| peer.address().map(|address| Ip(address.ip()));
    let hosting = host::<L, _>(HttpServer::new(router.clone()).with_peers().with_peers_as(ip), &[]);
    assert_eq!(connect(hosting.port()).get("/").body, "true 127.0.0.1");
    hosting.stop();
    let falls = |_| -> Option<()> { panic!("at a peer") };
    let hosting = host::<L, _>(HttpServer::new(router).with_peers_as(falls), &[]);
    assert_eq!(connect(hosting.port()).get("/").status, 500);
    assert_eq!(hosting.counter("panics"), 1);
    hosting.stop();
}

crate::util::on_each_loop! {
    layers_of_tower_http_work,
    connect_info_is_there_if_it_is_asked_for,
    what_is_made_of_peers_adds_up,
}

mod elsewhere {
    use super::with_tokio_brings_its_timers_elsewhere;

    interloop_transport_tests::on_loops! {
        { on_glib: interloop_glib::Glib, on_smol: interloop_smol::Smol, on_thread: interloop::Thread }
        { with_tokio_brings_its_timers_elsewhere, }
    }
}
