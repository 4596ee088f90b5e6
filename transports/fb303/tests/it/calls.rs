//! fb303 over Thrift, on loops with sockets of their own and with the core's. The kit provides the watchdog.

#[allow(dead_code, missing_debug_implementations, rust_2018_idioms, unreachable_pub, clippy::all, reason = "generated")]
#[path = "util/shop.rs"]
mod shop;
use crate::util::{PATIENCE, client, host, wires};
use interloop::{Service, Thread, net::Net, testing};
use interloop_fb303::{
    Base, Fb303, Fb303Server, HasFb303, fb303,
    fb303::{FbStatus, TFacebookServiceSyncClient},
};
use interloop_glib::Glib;
use interloop_thrift::{Address, Multiplexed, ThriftServer, Wire, connect};
use interloop_tokio::Tokio;
use shop::{ShopSyncClient, ShopSyncHandler, ShopSyncProcessor, TShopSyncClient};
use thrift::{ApplicationErrorKind, protocol::TMultiplexedOutputProtocol};

#[track_caller]
fn refused<T: std::fmt::Debug>(result: thrift::Result<T>) -> String {
    match result {
        Err(thrift::Error::Application(error)) if error.kind == ApplicationErrorKind::InternalError => error.message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_answers_on_a_socket_that_is_bound_already() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is room");
    let address = listener.local_addr().expect("it is bound");
    let mut service = Service::new("shop");
    service.task_on::<Thread>("fb303", Fb303Server::new().listen(listener));
    let test = testing::run(service);
    assert_eq!(client(address, Wire::framed()).get_name().expect("an answer"), "shop");
    test.stop().assert_clean();
}

fn everything_is_answered<L: Net>() {
    let (test, address) = host::<L>(&["--fb303-allow-control"]);
    for wire in wires() {
        let mut client = client(address, wire);
        assert_eq!(client.get_name().expect("an answer"), "shop");
        assert_eq!(client.get_version().expect("an answer"), "1.2.3");
        assert_eq!(client.get_status().expect("an answer"), FbStatus::ALIVE);
        assert_eq!(client.get_status_details().expect("an answer"), "");
        assert_eq!(client.get_counters().expect("an answer")["fb303.running"], 1);
        assert_eq!(client.get_counter("fb303.open_connections".to_owned()).expect("an answer"), 1);
        assert_eq!(refused(client.get_counter("nothing".to_owned())), "no counter nothing");
        assert_eq!(client.get_exported_values().expect("an answer")["owner"], "Eve");
        assert_eq!(client.get_exported_value("owner".to_owned()).expect("an answer"), "Eve");
        client.set_option("drain_delay".to_owned(), "1ms".to_owned()).expect("it may");
        assert_eq!(client.get_option("drain-delay".to_owned()).expect("an answer"), "1ms");
        assert!(refused(client.set_option("drain-delay".to_owned(), "soon".to_owned())).contains("soon"));
        assert_eq!(client.get_options().expect("an answer")["fb303-allow-control"], "true");
        assert!(client.alive_since().expect("an answer") > 1_600_000_000);
        if !Base::has_profiler() {
            let why = "there is no profiler: the program is built without the feature profile";
            assert_eq!(refused(client.get_cpu_profile(1)), why);
        }
        let why = "a profile takes from 1 s to 60 s, not 0 s";
        assert_eq!(refused(client.get_cpu_profile(-1)), why);
        client.reinitialize().expect("it is sent");
        // Only the next answer follows a oneway call.
        assert_eq!(client.get_name().expect("an answer"), "shop");
        drop(client);
        test.wait_until("the connection is gone", || {
            test.counters().get("fb303.open_connections") == Some(interloop::counters::Reading::Gauge(0.0))
        });
    }
    client(address, Wire::framed()).shutdown().expect("it is sent");
    test.join().assert_clean();
}

#[test]
fn everything_is_answered_on_thread() {
    everything_is_answered::<Thread>();
}

#[test]
fn everything_is_answered_on_tokio() {
    everything_is_answered::<Tokio>();
}

#[test]
fn everything_is_answered_on_glib() {
    everything_is_answered::<Glib>();
}

#[test]
fn nothing_is_changed_unless_that_is_allowed() {
    let (test, address) = host::<Thread>(&[]);
    let mut client = client(address, Wire::framed());
    let before = client.get_option("drain-delay".to_owned()).expect("an answer");
    let why = refused(client.set_option("drain-delay".to_owned(), "1ms".to_owned()));
    assert_eq!(why, "setOption is not allowed");
    client.reinitialize().expect("it is sent");
    client.shutdown().expect("it is sent");
    // Calls on a connection are answered in order: the shutdown is over.
    assert_eq!(client.get_status().expect("an answer"), FbStatus::ALIVE);
    assert_eq!(client.get_option("drain-delay".to_owned()).expect("an answer"), before);
    assert!(!test.shutdown().is_requested());
    assert_eq!(test.counter("fb303.errors{method=\"shutdown\"}"), 1);
    drop(client);
    test.stop().assert_clean();
}

struct Shop(Fb303);

impl HasFb303 for Shop {
    fn fb303(&self) -> &Fb303 {
        &self.0
    }
}

impl ShopSyncHandler for Shop {
    fn handle_price(&self, what: String) -> thrift::Result<i64> {
        Ok(what.len() as i64)
    }
}

#[test]
fn a_service_has_it_as_its_base_and_beside_others() {
    let mut service = Service::new("shop");
    let fb303 = Fb303::new(service.handle());
    let services =
        Multiplexed::new().default_service("Shop", ShopSyncProcessor::new(Shop(fb303.clone()))).service("fb303", fb303);
    service.task_on::<Thread>("thrift", ThriftServer::new(services));
    let test = testing::run(service);
    let address = test.tcp("thrift").into();
    let (input, output) = connect(&address, Wire::framed(), Some(PATIENCE)).expect("it listens");
    let mut shop = ShopSyncClient::new(input, output);
    assert_eq!(shop.price("bread".to_owned()).expect("an answer"), 5);
    assert_eq!(shop.get_name().expect("an answer"), "shop");
    let (input, output) = connect(&address, Wire::framed(), Some(PATIENCE)).expect("it listens");
    let output = TMultiplexedOutputProtocol::new("fb303", output);
    let mut beside = fb303::FacebookServiceSyncClient::new(input, output);
    assert_eq!(beside.get_status().expect("an answer"), FbStatus::ALIVE);
    drop((shop, beside));
    test.stop().assert_clean();
}

#[test]
fn it_listens_on_a_unix_socket_alone_if_it_is_told_so() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("fb303");
    let mut service = Service::new("shop");
    service.task_on::<Thread>("fb303", Fb303Server::new().unix(&path));
    let test = testing::run(service);
    let address = Address::Unix(path);
    assert_eq!(test.addresses("fb303"), std::slice::from_ref(&address));
    let (input, output) = connect(&address, Wire::framed(), Some(PATIENCE)).expect("it listens");
    let mut client = fb303::FacebookServiceSyncClient::new(input, output);
    assert_eq!(client.get_name().expect("an answer"), "shop");
    drop(client);
    test.stop().assert_clean();
}

#[cfg(feature = "tls")]
#[test]
fn it_speaks_tls_if_it_is_told_so() {
    use interloop_thrift::{TlsConnector, connect_with_tls};
    use interloop_transport_tests::certificates::Ca;

    let ca = Ca::new("the CA");
    ca.sign("server");
    let listen = interloop_fb303::Listen::port(0).host("127.0.0.1").tls(ca.path("server.pem"), ca.path("server.key"));
    let mut service = Service::new("shop");
    service.task_on::<Thread>("fb303", Fb303Server::new().listen(listen));
    let test = testing::run(service);
    let (address, tls) = (test.tcp("fb303").into(), TlsConnector::new(ca.path("ca.pem")).expect("it is a CA"));
    let made = connect_with_tls(&address, Wire::framed(), Some(PATIENCE), &tls, "localhost");
    let (input, output) = made.expect("it listens");
    let mut client = fb303::FacebookServiceSyncClient::new(input, output);
    assert_eq!(client.get_name().expect("an answer"), "shop");
    drop(client);
    test.stop().assert_clean();
}
