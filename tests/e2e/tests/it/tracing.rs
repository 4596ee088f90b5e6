//! One trace, whatever loops it passes through.

use std::{
    cell::RefCell,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    rc::Rc,
};

use axum::{Router, extract::Path, routing::get};
use interloop::{Service, task_fn, tasks::queue::Queue};
use interloop_e2e::{SOON, watched};
use interloop_glib::Glib;
use interloop_http::HttpServer;
use interloop_mio::Mio;
use interloop_test_spans::Spans;
use interloop_tokio::Tokio;
use tracing::{info, info_span};

#[derive(Default)]
struct Board {
    orders: Vec<String>,
}

fn fetch(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(SOON)).expect("it is a socket");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").expect("it is open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

/// A request over HTTP on tokio goes to a board on glib, and from there to a queue on mio.
fn one_trace(arguments: &[&str], wanted: [&str; 2]) {
    let heard = Spans::get();
    let mut service = Service::new("shop");
    service.arguments(arguments);
    let (slot, board) = service.slot::<RefCell<Board>>("board");
    let packer = Queue::<Mio, String, usize>::new(async |order, _| {
        info!("packs {order}");
        Ok(order.len())
    });
    let orders = packer.handle();
    service.task("packer", packer);
    let keeper = task_fn::<Glib>(async move |cx| {
        cx.fill(slot, RefCell::<Board>::default());
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("keeper", keeper).uses(&orders);
    let order = async move |Path(order): Path<String>| {
        info!("takes {order}");
        let (orders, wanted) = (orders.clone(), order.clone());
        let packed = board.spawn(async move |board: Rc<RefCell<Board>>| {
            board.borrow_mut().orders.push(wanted.clone());
            info!("notes {wanted}");
            let packed = orders.submit(wanted.clone()).await.expect("there is room").await;
            info!("crosses out {wanted}");
            packed
        });
        let packed = packed.await.expect("the board answers").expect("it is packed");
        info!("has {order}");
        packed.to_string()
    };
    let server = HttpServer::new(Router::new().route("/order/{order}", get(order)));
    let addresses = server.addresses();
    service.task_on::<Tokio>("http", server).requires("keeper");
    let running = service.start().expect("the configuration works");
    let address = addresses.wait_timeout(SOON).expect("it listens")[0].tcp().expect("on a port");
    for order in wanted {
        assert!(fetch(address, &format!("/order/{order}")).ends_with(&order.len().to_string()));
    }
    assert_eq!(running.stop().code, 0);
    for order in wanted {
        let span = format!(r#"request server="shop.http" method=GET path="/order/{order}""#);
        for (verb, thread) in
            [("takes", "tokio"), ("notes", "glib"), ("packs", "mio"), ("crosses out", "glib"), ("has", "tokio")]
        {
            let said = heard.said(&format!("{verb} {order}"));
            assert_eq!(said.len(), 1, "{said:?}");
            assert_eq!(said[0].path, span, "{said:?}");
            assert!(said[0].thread.starts_with(thread), "{said:?}");
        }
        assert!(heard.has_closed(&(span + " status=200")));
    }
}

#[test]
fn a_request_through_tokio_glib_and_mio_is_one_trace() {
    watched(|| one_trace(&[], ["tea", "coffee"]));
}

#[test]
fn a_request_through_the_workers_of_tokio_glib_and_mio_is_one_trace() {
    watched(|| one_trace(&["--tokio-worker-threads", "2"], ["milk", "honey"]));
}

#[test]
fn children_on_the_workers_of_tokio_are_in_the_span_of_whoever_made_them() {
    watched(|| {
        let heard = Spans::get();
        let mut service = Service::new("test");
        service.arguments(["--tokio-worker-threads", "2"]);
        let parent = task_fn::<Tokio>(async |cx| {
            cx.spawn(async { info!("a child") }).await?;
            let step = info_span!("step");
            let child = async {
                info!("a child of a step");
                // On whichever worker it continues.
                tokio::task::yield_now().await;
                info!("goes on");
            };
            step.in_scope(|| cx.spawn(child)).await?;
            Ok(())
        });
        service.task("parent", parent);
        assert_eq!(service.start().expect("the configuration works").join().code, 0);
        let task = r#"task name="parent" loop="tokio" incarnation=1"#;
        assert_eq!(heard.path("a child"), task);
        assert_eq!(heard.path("a child of a step"), format!("{task} > step"));
        assert_eq!(heard.path("goes on"), format!("{task} > step"));
        assert_eq!(heard.said("a child")[0].thread, "tokio-worker");
    });
}
