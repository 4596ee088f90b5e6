//! Health while tasks come and go.

use std::{net::SocketAddr, sync::Arc};

use crate::util::{
    PATIENCE,
    frames::{DATA, Raw},
    watchdog,
};
use interloop::{Service, Thread, net::Net, task_fn};
use interloop_grpc::GrpcServer;
use tokio::sync::Semaphore;

const SERVING: Option<u8> = Some(1);
const NOT_SERVING: Option<u8> = Some(2);
const SERVICE_UNKNOWN: Option<u8> = Some(3);

/// A watch, on a connection of its own.
struct Watch {
    client: Raw,
    read: Vec<u8>,
}

impl Watch {
    fn new(address: SocketAddr, name: &str) -> Self {
        let mut client = Raw::connect(address);
        client.call(1, "/grpc.health.v1.Health/Watch", name.as_bytes());
        Self { client, read: Vec::new() }
    }

    /// Returns None when it has ended.
    fn next(&mut self) -> Option<u8> {
        while self.read.is_empty() {
            let frame = self.client.next()?;
            if frame.kind == DATA {
                self.read = frame.payload;
            }
        }
        let message: Vec<_> = self.read.drain(..7).collect();
        assert_eq!(message[..6], *b"\0\0\0\0\x02\x08");
        Some(message[6])
    }
}

fn it_answers_on_a_socket_that_is_bound_already<L: Net>() {
    let _watchdog = watchdog();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is room");
    let address = listener.local_addr().expect("it is bound");
    let mut service = Service::new("test");
    service.task_on::<L>("grpc", GrpcServer::new().with_health().listen(listener));
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started_timeout(PATIENCE));
    let mut watch = Watch::new(address, "");
    assert_eq!(watch.next(), SERVING);
    assert_eq!(running.stop().code, 0);
}

fn a_watch_tells_that_a_task_gets_ready_and_restarts<L: Net>() {
    let _watchdog = watchdog();
    let server = GrpcServer::new().with_health();
    let addresses = server.addresses();
    let gate = Arc::new(Semaphore::new(0));
    let mut service = Service::new("test");
    service.task_on::<L>("grpc", server);
    let of_task = gate.clone();
    service.task_with::<Thread>("gated", move || {
        let gate = of_task.clone();
        task_fn::<Thread>(async move |cx| {
            gate.acquire().await.expect("it is never closed").forget();
            cx.ready();
            cx.until_shutdown().await;
            Ok(())
        })
    });
    let running = service.start().expect("the configuration works");
    let address = addresses.wait_timeout(PATIENCE).expect("it listens")[0].tcp().expect("it listens on TCP");
    assert_eq!(Watch::new(address, "nobody").next(), SERVICE_UNKNOWN);
    let mut watches = [Watch::new(address, ""), Watch::new(address, "gated")];
    let mut next = || watches.each_mut().map(Watch::next);
    assert_eq!(next(), [NOT_SERVING; 2]);
    gate.add_permits(1);
    assert_eq!(next(), [SERVING; 2]);
    running.restart_task("gated").expect("it is there");
    assert_eq!(next(), [NOT_SERVING; 2]);
    gate.add_permits(1);
    assert_eq!(next(), [SERVING; 2]);
    running.request_shutdown("test");
    assert_eq!(next(), [NOT_SERVING; 2]);
    assert_eq!(next(), [None; 2]);
    let report = running.join();
    assert_eq!(report.code, 0, "{report}");
}

crate::util::on_each_loop! {
    it_answers_on_a_socket_that_is_bound_already,
    a_watch_tells_that_a_task_gets_ready_and_restarts,
}
