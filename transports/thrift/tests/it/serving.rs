//! The answers of a server, over every transport and protocol.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::util::{
    Handler, PATIENCE, application, both,
    calc::{
        CalculatorSyncClient, CalculatorSyncHandler, CalculatorSyncProcessor, NoResult, Operation,
        TCalculatorSyncClient, TEchoSyncClient, Work,
    },
    calculator, eventually, host, watchdog, wires,
};
use interloop::net::Net;
use interloop_thrift::{Listen, Multiplexed, ThriftServer, Wire, connect};
use thrift::{ApplicationErrorKind, OrderedFloat, protocol::TMultiplexedOutputProtocol};

fn every_kind_of_value_comes_back_over_every_wire<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(both(&Handler::default()), &[]);
    for wire in wires() {
        let mut echo = hosting.echo(wire.clone());
        for length in [0, 1, 100, 100_000, 1 << 20] {
            let bytes = (0..length).map(|byte: usize| (byte * 7) as u8).collect::<Vec<_>>();
            assert!(echo.bytes(bytes.clone()).expect("an answer") == bytes, "{wire:?}: {length}");
        }
        let lists = BTreeMap::from([("none".to_owned(), vec![]), ("some".to_owned(), (-50..50).collect())]);
        assert_eq!(echo.lists(lists.clone()).expect("an answer"), lists);
        assert_eq!(echo.lists(BTreeMap::new()).expect("an answer"), BTreeMap::new());
        let works = (0..100).map(|n| Work::new(n, -n, Operation::DIVIDE, "ä".to_owned())).collect::<Vec<_>>();
        assert_eq!(echo.works(works.clone()).expect("an answer"), works);
        let numbers = BTreeSet::from([i64::MIN, -1, 0, 1, i64::MAX]);
        assert_eq!(echo.numbers(numbers.clone()).expect("an answer"), numbers);
        assert_eq!(echo.number(OrderedFloat(-0.1)).expect("an answer"), OrderedFloat(-0.1));
        assert!(echo.truth(true).expect("an answer") && !echo.truth(false).expect("an answer"));
    }
    hosting.stop();
}

fn exceptions_and_oneway_calls_are_answered_as_they_should<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &[]);
    for wire in wires() {
        let mut client = hosting.calculator(wire);
        assert_eq!(client.calculate(Work::new(20, 22, None, None)).expect("an answer"), 42);
        match client.calculate(Work::new(1, 0, Operation::DIVIDE, None)) {
            Err(thrift::Error::User(error)) => {
                assert_eq!(error.downcast_ref::<NoResult>().map(|error| &*error.why), Some("by nothing"));
            }
            other => panic!("{other:?}"),
        }
        // An answer to a oneway call would be taken for that to the next.
        client.note("a".to_owned()).expect("it is sent");
        client.note("panic".to_owned()).expect("it is sent");
        client.note("b".to_owned()).expect("it is sent");
        assert_eq!(client.notes().expect("an answer").last().map(|note| &**note), Some("b"));
        assert_eq!(application(client.act("fail".to_owned())).kind, ApplicationErrorKind::Unknown);
        let refused = application(client.act("refuse".to_owned()));
        assert_eq!((refused.kind, &*refused.message), (ApplicationErrorKind::InternalError, "no"));
        client.ping().expect("it goes on");
    }
    assert_eq!(hosting.counter(r#"exceptions{method="calculate"}"#), 4);
    assert_eq!(hosting.counter(r#"errors{method="act"}"#), 8);
    assert_eq!(hosting.counter(r#"calls{method="calculate"}"#), 8);
    assert_eq!(hosting.counter("panics"), 4);
    hosting.stop();
}

fn a_handler_that_panics_is_an_internal_error_and_nothing_else<L: Net>() {
    let _watchdog = watchdog();
    for arguments in [&[][..], &["--thrift-workers", "2"]] {
        let hosting = host::<L>(calculator(&Handler::default()), arguments);
        for wire in wires() {
            let mut client = hosting.calculator(wire);
            // A method that has never answered may be oneway.
            assert_eq!(application(client.act("refuse".to_owned())).kind, ApplicationErrorKind::InternalError);
            assert_eq!(application(client.act("panic".to_owned())).kind, ApplicationErrorKind::InternalError);
            client.ping().expect("it goes on, on the same connection");
        }
        assert_eq!((hosting.counter("panics"), hosting.counter(r#"errors{method="act"}"#)), (4, 8));
        hosting.stop();
    }
}

fn what_there_is_not_is_unknown_and_makes_no_counters<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(both(&Handler::default()), &[]);
    let (input, output) = connect(hosting.address(), Wire::framed(), Some(PATIENCE)).expect("it listens");
    // The methods of one service, at another; and an unknown service.
    let mut stray = CalculatorSyncClient::new(input, TMultiplexedOutputProtocol::new("Echo", output));
    assert_eq!(application(stray.ping()).kind, ApplicationErrorKind::UnknownMethod);
    stray.note("nobody says that it is lost".to_owned()).expect("it is sent");
    assert_eq!(application(stray.ping()).kind, ApplicationErrorKind::UnknownMethod);
    for number in 0..50 {
        let (input, output) = connect(hosting.address(), Wire::buffered(), Some(PATIENCE)).expect("it listens");
        let mut nobody =
            CalculatorSyncClient::new(input, TMultiplexedOutputProtocol::new(&format!("no{number}"), output));
        assert_eq!(application(nobody.ping()).kind, ApplicationErrorKind::UnknownMethod);
    }
    assert_eq!(hosting.counter("unknown_methods"), 53);
    let status = hosting.running.status();
    let named = status.tasks[0].counters.keys().filter(|name| name.contains("method=")).collect::<Vec<_>>();
    assert!(named.is_empty(), "{named:?}");
    hosting.stop();
}

fn the_default_service_is_there_with_and_without_its_name<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(both(&Handler::default()), &[]);
    for wire in wires() {
        hosting.calculator(wire.clone()).ping().expect("an answer");
        let (input, output) = connect(hosting.address(), wire, Some(PATIENCE)).expect("it listens");
        let mut named = CalculatorSyncClient::new(input, TMultiplexedOutputProtocol::new("Calculator", output));
        assert_eq!(named.calculate(Work::new(1, 2, None, None)).expect("an answer"), 3);
    }
    hosting.stop();
}

/// Counts only on its thread.
struct Counting(Rc<Cell<usize>>);

static COUNTED: AtomicUsize = AtomicUsize::new(0);

impl CalculatorSyncHandler for Counting {
    fn handle_calculate(&self, _: Work) -> thrift::Result<i64> {
        Ok(0)
    }

    fn handle_ping(&self) -> thrift::Result<()> {
        self.0.set(self.0.get() + 1);
        COUNTED.store(self.0.get(), Ordering::Relaxed);
        Ok(())
    }

    fn handle_note(&self, _: String) -> thrift::Result<()> {
        Ok(())
    }

    fn handle_notes(&self) -> thrift::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn handle_act(&self, _: String) -> thrift::Result<String> {
        Ok(thread::current().name().unwrap_or_default().to_owned())
    }
}

fn a_processor_may_belong_to_the_loop<L: Net>() {
    let _watchdog = watchdog();
    let make = || {
        let counter = Rc::new(Cell::new(0));
        Multiplexed::local().default_service("Calculator", CalculatorSyncProcessor::new(Counting(counter)))
    };
    let hosting = host::<L>(ThriftServer::with(make), &[]);
    for wire in wires() {
        hosting.calculator(wire).ping().expect("an answer");
    }
    assert_eq!(COUNTED.load(Ordering::Relaxed), 4);
    hosting.stop();
    // It can't run on threads.
    let (service, _) = crate::util::service::<L>(
        ThriftServer::with(|| CalculatorSyncProcessor::new(Handler::default())),
        &["--thrift-workers", "1"],
    );
    let report = service.start().expect("the options are good").join();
    assert_eq!(report.code, 1);
    assert!(report.to_string().contains("there can be no workers"), "{report}");
}

fn handlers_that_block_do_so_on_workers<L: Net>() {
    let _watchdog = watchdog();
    let handler = Handler::default();
    let hosting = host::<L>(calculator(&handler), &["--thrift-workers", "3"]);
    thread::scope(|scope| {
        let blocked = (0..2).map(|_| scope.spawn(|| hosting.calculator(Wire::framed()).act("block".to_owned())));
        let blocked = blocked.collect::<Vec<_>>();
        eventually("both are at it", || handler.gate.waiting() == 2);
        // The third answers all others.
        for wire in wires() {
            hosting.calculator(wire).ping().expect("an answer");
        }
        handler.gate.open();
        for blocked in blocked {
            assert_eq!(blocked.join().expect("no panic").expect("an answer"), "block");
        }
    });
    hosting.stop();
}

fn it_listens_on_a_unix_socket_and_on_several_hosts<L: Net>() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("thrift.sock");
    let arguments = ["--thrift-host", "127.0.0.1,127.0.0.2", "--thrift-unix", path.to_str().expect("text")];
    let hosting = host::<L>(calculator(&Handler::default()), &[&arguments[..], &["--thrift-port", "0"]].concat());
    assert_eq!(hosting.addresses.len(), 3);
    for address in &hosting.addresses {
        for wire in wires() {
            let (input, output) = connect(address, wire, Some(PATIENCE)).expect("it listens");
            CalculatorSyncClient::new(input, output).ping().expect("an answer");
        }
    }
    let exported = hosting.running.status().tasks[0].exports["address"].clone();
    assert_eq!(exported, hosting.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    hosting.stop();
    assert!(!path.exists());
}

fn it_serves_a_socket_that_is_bound_already<L: Net>() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("thrift.sock");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("there is room");
    let listen = Listen::from(tcp).listener(std::os::unix::net::UnixListener::bind(&path).expect("it is new"));
    let hosting = host::<L>(calculator(&Handler::default()).listen(listen), &[]);
    assert_eq!(hosting.addresses.len(), 2);
    for address in &hosting.addresses {
        let (input, output) = connect(address, Wire::framed(), Some(PATIENCE)).expect("it listens");
        CalculatorSyncClient::new(input, output).ping().expect("an answer");
    }
    hosting.stop();
    assert!(path.exists());
}

crate::util::on_each_loop! {
    it_serves_a_socket_that_is_bound_already,
    every_kind_of_value_comes_back_over_every_wire,
    exceptions_and_oneway_calls_are_answered_as_they_should,
    a_handler_that_panics_is_an_internal_error_and_nothing_else,
    what_there_is_not_is_unknown_and_makes_no_counters,
    the_default_service_is_there_with_and_without_its_name,
    a_processor_may_belong_to_the_loop,
    handlers_that_block_do_so_on_workers,
    it_listens_on_a_unix_socket_and_on_several_hosts,
}

/// Another crate of this program has TLS.
#[cfg(not(feature = "tls"))]
#[test]
fn without_the_feature_it_refuses_to_speak_in_the_clear_where_tls_is_asked_for() {
    let _watchdog = watchdog();
    let mut service = interloop::Service::new("test");
    let server = calculator(&Handler::default()).listen(interloop_thrift::Listen::port(0).tls("cert.pem", "key.pem"));
    service.task_on::<interloop::Thread>("thrift", server);
    let said = service.start().expect_err("it can't serve").to_string();
    assert!(said.contains("it is to speak TLS, but its crate was built without the feature `tls`"), "{said}");
}

#[test]
fn help_and_dry_run_show_what_the_code_has_set() {
    let minute = std::time::Duration::from_secs(60);
    let service = || {
        let mut service = interloop::Service::new("told");
        let server = ThriftServer::new(CalculatorSyncProcessor::new(Handler::default()))
            .port(8020)
            .max_frame_size(100)
            .max_string_size(10)
            .max_container_size(5)
            .max_nesting(4);
        service.task_on::<interloop::Thread>("thrift", server.workers(2).idle_timeout(minute).read_timeout(minute));
        service
    };
    let values = [
        ("port", "8020"),
        ("workers", "2"),
        ("max-frame-size", "100"),
        ("max-string-size", "10"),
        ("max-container-size", "5"),
        ("max-nesting", "4"),
        ("idle-timeout", "1m"),
        ("read-timeout", "1m"),
    ];
    interloop_transport_tests::shows_what_code_has_set(service, "thrift", &values);
}
