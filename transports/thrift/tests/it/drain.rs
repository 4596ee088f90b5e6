//! How a server stops.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::util::{
    Handler, PATIENCE,
    calc::{TCalculatorSyncClient, Work},
    calculator, closed, eventually, host, watchdog, wires,
};
use interloop::{State, net::Net};
use interloop_thrift::Wire;

/// A framed, binary call of `ping`, and its answer.
const PING: &[u8] = b"\0\0\0\x11\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x01\0";
const PONG: &[u8] = b"\0\0\0\x11\x80\x01\0\x02\0\0\0\x04ping\0\0\0\x01\0";

fn an_open_call_is_answered_and_its_connection_closed<L: Net>() {
    let _watchdog = watchdog();
    for wire in wires() {
        let handler = Handler::default();
        let hosting = host::<L>(calculator(&handler), &["--thrift-workers", "1"]);
        let mut client = hosting.calculator(wire);
        thread::scope(|scope| {
            let blocked = scope.spawn(|| client.act("block".to_owned()));
            eventually("it is at it", || handler.gate.waiting() == 1);
            hosting.running.request_shutdown("test");
            let port = hosting.port();
            eventually("it listens no more", || TcpStream::connect(port).is_err());
            handler.gate.open();
            assert_eq!(blocked.join().expect("no panic").expect("an answer"), "block");
        });
        // Calls before the server notices are answered too, for a second at most.
        while client.ping().is_ok() {}
        let report = hosting.running.join();
        assert_eq!((report.code, report.tasks[0].state), (0, State::Stopped));
    }
}

fn idle_connections_are_closed_at_once<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &[]);
    let (unused, mut used) = (hosting.raw(), hosting.calculator(Wire::framed()));
    used.ping().expect("an answer");
    eventually("both are in", || hosting.counter("open_connections") == 2);
    let begin = Instant::now();
    hosting.stop();
    // As long as it would take with half a call.
    assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
    assert_eq!(closed(&unused), b"");
}

fn what_was_sent_before_the_stop_is_answered<L: Net>() {
    let _watchdog = watchdog();
    for round in 0..20 {
        let hosting = host::<L>(calculator(&Handler::default()), &[]);
        let clients = (0..10).map(|_| {
            let mut client = hosting.raw();
            client.write_all(&PING.repeat(2)).expect("it is open");
            client
        });
        let clients = clients.collect::<Vec<_>>();
        hosting.running.request_shutdown("test");
        for client in clients {
            assert_eq!(closed(&client), PONG.repeat(2), "round {round}");
        }
        assert_eq!(hosting.running.join().code, 0);
    }
}

fn a_client_that_stops_in_the_middle_of_a_call_does_not_hold_it_up<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &[]);
    let mut client = hosting.raw();
    client.write_all(&[PING, &PING[..7]].concat()).expect("it is open");
    let mut answer = [0; PONG.len()];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, PONG);
    let begin = Instant::now();
    hosting.stop();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

fn past_the_deadline_a_handler_is_left_behind<L: Net>() {
    let _watchdog = watchdog();
    let handler = Handler::default();
    let server = calculator(&handler).workers(1);
    let addresses = server.addresses();
    let mut service = interloop::Service::new("test");
    service.task_on::<L>("thrift", server).stop_timeout(Duration::from_millis(50));
    let running = service.start().expect("the configuration works");
    let address = addresses.wait_timeout(PATIENCE).expect("it listens")[0].clone();
    let (input, output) = interloop_thrift::connect(&address, Wire::framed(), Some(PATIENCE)).expect("it listens");
    let mut client = crate::util::calc::CalculatorSyncClient::new(input, output);
    thread::scope(|scope| {
        let blocked = scope.spawn(|| client.act("block".to_owned()));
        eventually("it is at it", || handler.gate.waiting() == 1);
        let begin = Instant::now();
        let report = running.stop();
        assert_eq!((report.code, report.tasks[0].state), (124, State::Cancelled), "{report}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        assert!(blocked.join().expect("no panic").is_err());
        // It answers after all have left.
        handler.gate.open();
    });
}

fn a_server_starts_again_where_it_was<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &[]);
    let port = hosting.port().port().to_string();
    hosting.calculator(Wire::framed()).ping().expect("an answer");
    hosting.stop();
    let hosting = host::<L>(calculator(&Handler::default()), &["--thrift-port", &port]);
    assert_eq!(hosting.calculator(Wire::framed()).calculate(Work::new(1, 1, None, None)).expect("an answer"), 2);
    hosting.stop();
}

crate::util::on_each_loop! {
    an_open_call_is_answered_and_its_connection_closed,
    idle_connections_are_closed_at_once,
    what_was_sent_before_the_stop_is_answered,
    a_client_that_stops_in_the_middle_of_a_call_does_not_hold_it_up,
    past_the_deadline_a_handler_is_left_behind,
    a_server_starts_again_where_it_was,
}
