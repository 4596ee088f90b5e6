//! A service with one server in it, its handlers, clients, and a watchdog.

// Each test file uses a part of this.
#![allow(dead_code, unreachable_pub, unused_imports, unused_macros)]

#[allow(missing_docs, missing_debug_implementations, rust_2018_idioms, clippy::all, reason = "generated")]
pub mod calc;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use interloop::{Running, Service, net::Net};
use interloop_thrift::{Address, Addresses, Input, Multiplexed, Output, Protocol, ThriftServer, Wire, connect};
pub use interloop_transport_tests::{PATIENCE, eventually, watchdog};
use thrift::{
    ApplicationError, ApplicationErrorKind, OrderedFloat,
    protocol::{TInputProtocol, TMultiplexedOutputProtocol, TOutputProtocol},
    server::TProcessor,
};

use self::calc::{
    CalculatorSyncClient, CalculatorSyncHandler, CalculatorSyncProcessor, EchoSyncClient, EchoSyncHandler,
    EchoSyncProcessor, NoResult, Operation, Work,
};

/// Closed until it is opened; counts the waiters.
#[derive(Default)]
pub struct Gate {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    pub fn open(&self) {
        self.state.lock().expect("no panic").0 = true;
        self.changed.notify_all();
    }

    pub fn waiting(&self) -> usize {
        self.state.lock().expect("no panic").1
    }

    fn pass(&self) {
        let mut state = self.state.lock().expect("no panic");
        state.1 += 1;
        drop(self.changed.wait_while(state, |state| !state.0).expect("no panic"));
    }
}

/// Answers both services.
#[derive(Clone, Default)]
pub struct Handler {
    pub gate: Arc<Gate>,
    pub notes: Arc<Mutex<Vec<String>>>,
}

impl CalculatorSyncHandler for Handler {
    fn handle_calculate(&self, work: Work) -> thrift::Result<i64> {
        match work.operation.unwrap_or(Operation::ADD) {
            Operation::SUBTRACT => Ok(work.left - work.right),
            Operation::DIVIDE if work.right == 0 => Err(NoResult::new("by nothing".to_owned()).into()),
            Operation::DIVIDE => Ok(work.left / work.right),
            _ => Ok(work.left + work.right),
        }
    }

    fn handle_ping(&self) -> thrift::Result<()> {
        Ok(())
    }

    fn handle_note(&self, text: String) -> thrift::Result<()> {
        assert_ne!(text, "panic");
        match &*text {
            "fail" => return Err("it failed".into()),
            "refuse" => return Err(thrift::new_application_error(ApplicationErrorKind::InternalError, "no")),
            _ => {}
        }
        self.notes.lock().expect("no panic").push(text);
        Ok(())
    }

    fn handle_notes(&self) -> thrift::Result<Vec<String>> {
        Ok(self.notes.lock().expect("no panic").clone())
    }

    fn handle_act(&self, what: String) -> thrift::Result<String> {
        match &*what {
            "panic" => panic!("as it was told"),
            "block" => self.gate.pass(),
            "fail" => return Err("it failed".into()),
            "refuse" => return Err(thrift::new_application_error(ApplicationErrorKind::InternalError, "no")),
            "long" => return Ok("x".repeat(64 << 20)),
            _ => {}
        }
        Ok(what)
    }
}

impl EchoSyncHandler for Handler {
    fn handle_bytes(&self, bytes: Vec<u8>) -> thrift::Result<Vec<u8>> {
        Ok(bytes)
    }

    fn handle_lists(&self, lists: BTreeMap<String, Vec<i32>>) -> thrift::Result<BTreeMap<String, Vec<i32>>> {
        Ok(lists)
    }

    fn handle_works(&self, works: Vec<Work>) -> thrift::Result<Vec<Work>> {
        Ok(works)
    }

    fn handle_numbers(&self, numbers: BTreeSet<i64>) -> thrift::Result<BTreeSet<i64>> {
        Ok(numbers)
    }

    fn handle_number(&self, number: OrderedFloat<f64>) -> thrift::Result<OrderedFloat<f64>> {
        Ok(number)
    }

    fn handle_truth(&self, truth: bool) -> thrift::Result<bool> {
        Ok(truth)
    }
}

pub fn calculator(handler: &Handler) -> ThriftServer {
    ThriftServer::new(CalculatorSyncProcessor::new(handler.clone()))
}

/// Serves `Calculator`, which is the default, and `Echo`.
pub fn both(handler: &Handler) -> ThriftServer {
    let calculator = CalculatorSyncProcessor::new(handler.clone());
    let echo = EchoSyncProcessor::new(handler.clone());
    ThriftServer::new(Multiplexed::new().default_service("Calculator", calculator).service("Echo", echo))
}

/// A running service with a server in it.
pub struct Hosting {
    pub running: Running,
    pub addresses: Vec<Address>,
}

impl Hosting {
    pub fn address(&self) -> &Address {
        &self.addresses[0]
    }

    pub fn port(&self) -> SocketAddr {
        self.address().tcp().expect("it listens on TCP")
    }

    pub fn counter(&self, name: &str) -> u64 {
        let status = self.running.status();
        let task = status.tasks.iter().find(|task| task.name == "thrift").expect("it is there");
        let gauge = || task.gauges.get(name).map(|gauge| *gauge as u64);
        task.counters.get(name).copied().or_else(gauge).unwrap_or(0)
    }

    pub fn calculator(&self, wire: Wire) -> CalculatorSyncClient<Input, Output> {
        let (input, output) = connect(self.address(), wire, Some(PATIENCE)).expect("it listens");
        CalculatorSyncClient::new(input, output)
    }

    pub fn echo(&self, wire: Wire) -> EchoSyncClient<Input, TMultiplexedOutputProtocol<Output>> {
        let (input, output) = connect(self.address(), wire, Some(PATIENCE)).expect("it listens");
        EchoSyncClient::new(input, TMultiplexedOutputProtocol::new("Echo", output))
    }

    pub fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(self.port()).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
        stream
    }

    pub fn stop(self) {
        let report = self.running.stop();
        assert_eq!(report.code, 0, "{report}");
    }
}

pub fn service<L: Net>(server: ThriftServer, arguments: &[&str]) -> (Service, Addresses) {
    let addresses = server.addresses();
    let mut service = Service::new("test");
    service.task_on::<L>("thrift", server);
    service.arguments(arguments);
    (service, addresses)
}

pub fn host<L: Net>(server: ThriftServer, arguments: &[&str]) -> Hosting {
    let (service, addresses) = service::<L>(server, arguments);
    let running = service.start().expect("the configuration works");
    let addresses = addresses.wait_timeout(PATIENCE).expect("it listens");
    Hosting { running, addresses }
}

/// Returns every transport with every protocol.
pub fn wires() -> [Wire; 4] {
    let (binary, compact) = (Protocol::Binary, Protocol::Compact);
    let (framed, buffered) = (Wire::framed(), Wire::buffered());
    [
        framed.clone().protocol(binary),
        framed.protocol(compact),
        buffered.clone().protocol(binary),
        buffered.protocol(compact),
    ]
}

/// Makes a test of each of these on loops of all kinds: with sockets of their own, and with the core's.
macro_rules! on_each_loop {
    ($($test:ident,)+) => {
        interloop_transport_tests::on_loops! {
            {
                on_thread: interloop::Thread,
                on_tokio: interloop_tokio::Tokio,
                on_glib: interloop_glib::Glib
            }
            { $($test,)+ }
        }
    };
}
pub(crate) use on_each_loop;

/// Waits until the server has closed the connection, and returns what came before. A reset is an end too.
pub fn closed(mut stream: &TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "still open: {rest:?}");
    }
    rest
}

/// Returns the application exception that a call has ended with.
#[track_caller]
pub fn application<T: std::fmt::Debug>(result: thrift::Result<T>) -> ApplicationError {
    match result {
        Err(thrift::Error::Application(error)) => error,
        other => panic!("{other:?}"),
    }
}
