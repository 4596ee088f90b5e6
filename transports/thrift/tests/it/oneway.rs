//! Oneway methods, called as such and like any other, by clients and servers that disagree on what that means.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use crate::util::{
    Handler, Hosting, PATIENCE, both,
    calc::{CalculatorSyncClient, TCalculatorSyncClient},
    closed, eventually, host, watchdog,
};
use interloop::{Service, net::Net, task_fn};
use interloop_thrift::{Address, Protocol, ThriftClient, Wire, connect};
use thrift::protocol::{
    TBinaryOutputProtocol, TCompactOutputProtocol, TFieldIdentifier, TMessageIdentifier, TMessageType, TOutputProtocol,
    TStructIdentifier, TType,
};

const PROTOCOLS: [Protocol; 2] = [Protocol::Binary, Protocol::Compact];

/// Returns a message whose struct has this as its first field, or none.
fn message(protocol: Protocol, name: &str, kind: TMessageType, sequence: i32, field: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut to: Box<dyn TOutputProtocol> = match protocol {
        Protocol::Binary => Box::new(TBinaryOutputProtocol::new(&mut bytes, true)),
        Protocol::Compact => Box::new(TCompactOutputProtocol::new(&mut bytes)),
        _ => unreachable!("there are two"),
    };
    let mut write = || {
        to.write_message_begin(&TMessageIdentifier::new(name, kind, sequence))?;
        to.write_struct_begin(&TStructIdentifier::new("any"))?;
        if let Some(field) = field {
            to.write_field_begin(&TFieldIdentifier::new("field", TType::String, 1))?;
            to.write_string(field)?;
            to.write_field_end()?;
        }
        to.write_field_stop()?;
        to.write_struct_end()?;
        to.write_message_end()
    };
    write().expect("memory takes all");
    drop(to);
    bytes
}

fn framed(message: Vec<u8>, framed: bool) -> Vec<u8> {
    let length = (message.len() as u32).to_be_bytes();
    if framed { [&length[..], &message].concat() } else { message }
}

/// Sends these in one piece, and returns everything that comes back.
fn exchanged(hosting: &Hosting, pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = hosting.raw();
    stream.write_all(&pieces.concat()).expect("it is open");
    stream.shutdown(std::net::Shutdown::Write).expect("it is open");
    closed(&stream)
}

fn a_oneway_method_has_no_answer_however_it_is_called<L: Net>() {
    let _watchdog = watchdog();
    for arguments in [&[][..], &["--thrift-workers", "2"]] {
        let handler = Handler::default();
        let hosting = host::<L>(both(&handler), arguments);
        for (protocol, is_framed) in PROTOCOLS.into_iter().flat_map(|protocol| [(protocol, true), (protocol, false)]) {
            let call =
                |name: &str, kind, sequence, field| framed(message(protocol, name, kind, sequence, field), is_framed);
            let mut calls = Vec::new();
            let mut answers = Vec::new();
            for (sequence, kind) in
                [TMessageType::Call, TMessageType::OneWay, TMessageType::Call].into_iter().enumerate()
            {
                let sequence = 2 * sequence as i32;
                let name = if sequence == 0 { "note" } else { "Calculator:note" };
                calls.push(call(name, kind, sequence, Some("noted")));
                calls.push(call("ping", TMessageType::Call, sequence + 1, None));
                answers.push(call("ping", TMessageType::Reply, sequence + 1, None));
            }
            assert_eq!(exchanged(&hosting, &calls), answers.concat(), "{protocol:?}, framed: {is_framed}");
            // The other way around: a method that has an answer, called as oneway.
            let calls = [call("ping", TMessageType::OneWay, 7, None), call("ping", TMessageType::Call, 8, None)];
            assert_eq!(exchanged(&hosting, &calls), call("ping", TMessageType::Reply, 8, None));
        }
        assert_eq!(handler.notes.lock().expect("no panic").len(), 12);
        assert_eq!(hosting.counter(r#"errors{method="note"}"#), 0);
        assert_eq!(
            hosting.counter(r#"calls{method="note"}"#) + hosting.counter(r#"calls{method="Calculator:note"}"#),
            12
        );
        hosting.stop();
    }
}

fn nor_has_one_that_fails<L: Net>() {
    let _watchdog = watchdog();
    for arguments in [&[][..], &["--thrift-workers", "2"]] {
        let hosting = host::<L>(both(&Handler::default()), arguments);
        for (protocol, is_framed) in PROTOCOLS.into_iter().flat_map(|protocol| [(protocol, true), (protocol, false)]) {
            let call =
                |name: &str, kind, sequence, field| framed(message(protocol, name, kind, sequence, field), is_framed);
            let (ask, answer) = (TMessageType::Call, TMessageType::Reply);
            let calls = [
                call("note", ask, 1, Some("fail")),
                call("ping", ask, 2, None),
                call("Calculator:note", ask, 3, Some("refuse")),
                call("note", TMessageType::OneWay, 4, Some("fail")),
                call("ping", ask, 5, None),
            ];
            let answers = [call("ping", answer, 2, None), call("ping", answer, 5, None)];
            assert_eq!(exchanged(&hosting, &calls), answers.concat(), "{protocol:?}, framed: {is_framed}");
            // Unknown methods and unreadable calls are answered: the caller waits for that.
            for (name, field) in [("nothing", None), ("act", None), ("act", Some("fail")), ("act", Some("refuse"))] {
                let calls = [call(name, ask, 1, field), call("ping", ask, 2, None)];
                let answers = exchanged(&hosting, &calls);
                let pong = call("ping", answer, 2, None);
                assert!(answers.len() > pong.len() + 10 && answers.ends_with(&pong), "{name}: {answers:?}");
            }
        }
        assert_eq!(hosting.counter(r#"errors{method="note"}"#), 8);
        assert_eq!(hosting.counter(r#"errors{method="Calculator:note"}"#), 4);
        hosting.stop();
    }
}

fn nor_has_one_that_panics_once_it_is_known<L: Net>() {
    let _watchdog = watchdog();
    for arguments in [&[][..], &["--thrift-workers", "2"]] {
        let hosting = host::<L>(both(&Handler::default()), arguments);
        let (ask, answer) = (TMessageType::Call, TMessageType::Reply);
        for (protocol, is_framed) in PROTOCOLS.into_iter().flat_map(|protocol| [(protocol, true), (protocol, false)]) {
            let call =
                |name: &str, kind, sequence, field| framed(message(protocol, name, kind, sequence, field), is_framed);
            // It has revealed what it is: here by returning, there by failing.
            let calls = [
                call("note", ask, 1, Some("noted")),
                call("note", ask, 2, Some("panic")),
                call("ping", ask, 3, None),
                call("Calculator:note", ask, 4, Some("fail")),
                call("Calculator:note", ask, 5, Some("panic")),
                call("note", TMessageType::OneWay, 6, Some("panic")),
                call("ping", ask, 7, None),
            ];
            let answers = [call("ping", answer, 3, None), call("ping", answer, 7, None)];
            assert_eq!(exchanged(&hosting, &calls), answers.concat(), "{protocol:?}, framed: {is_framed}");
            // The caller of a method that has an answer waits for it.
            let calls = [
                call("act", TMessageType::OneWay, 1, Some("more")),
                call("act", ask, 2, Some("panic")),
                call("ping", ask, 3, None),
            ];
            let answers = exchanged(&hosting, &calls);
            let pong = call("ping", answer, 3, None);
            assert!(answers.len() > pong.len() + 10 && answers.ends_with(&pong), "{answers:?}");
        }
        assert_eq!(hosting.counter("panics"), 4 * 4);
        hosting.stop();
    }
}

fn nor_has_one_whose_first_call_panics_but_its_connection_is_closed<L: Net>() {
    let _watchdog = watchdog();
    for arguments in [&[][..], &["--thrift-workers", "2"]] {
        for (protocol, is_framed) in PROTOCOLS.into_iter().flat_map(|protocol| [(protocol, true), (protocol, false)]) {
            let hosting = host::<L>(both(&Handler::default()), arguments);
            let (ask, answer) = (TMessageType::Call, TMessageType::Reply);
            let call =
                |name: &str, kind, sequence, field| framed(message(protocol, name, kind, sequence, field), is_framed);
            let pong = |sequence| call("ping", answer, sequence, None);
            // Called as oneway, it holds up nothing.
            let calls = [call("note", TMessageType::OneWay, 1, Some("panic")), call("ping", ask, 2, None)];
            assert_eq!(exchanged(&hosting, &calls), pong(2), "{protocol:?}, framed: {is_framed}");
            // Earlier calls are answered.
            let calls = [call("ping", ask, 3, None), call("note", ask, 4, Some("panic")), call("ping", ask, 5, None)];
            assert_eq!(exchanged(&hosting, &calls), pong(3), "{protocol:?}, framed: {is_framed}");
            // So is the connection of a method that has an answer, until it has revealed that.
            let panics = [call("act", ask, 1, Some("panic")), call("ping", ask, 2, None)];
            assert_eq!(exchanged(&hosting, &panics), b"");
            let acts = exchanged(&hosting, &[call("act", ask, 1, Some("more"))]);
            assert!(!acts.is_empty());
            let answers = exchanged(&hosting, &panics);
            assert!(answers.len() > pong(2).len() + 10 && answers.ends_with(&pong(2)), "{answers:?}");
            assert_eq!(hosting.counter("panics"), 4);
            hosting.stop();
        }
    }
}

fn a_oneway_call_that_can_not_be_read_has_no_answer_either<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(both(&Handler::default()), &[]);
    for protocol in PROTOCOLS {
        let bad = |kind| framed([&message(protocol, "note", kind, 1, Some("noted"))[..], b"more"].concat(), true);
        assert_eq!(exchanged(&hosting, &[bad(TMessageType::OneWay)]), b"");
        assert_ne!(exchanged(&hosting, &[bad(TMessageType::Call)]), b"");
    }
    eventually("all are counted", || hosting.counter("bad_messages") == 4);
    hosting.stop();
}

/// A server that answers oneway calls, as some do: each time when the call after it is there too.
fn answering(listener: &TcpListener, protocol: Protocol, is_framed: bool) {
    let mut stream = listener.accept().expect("a client comes").0;
    let call = |name: &str, kind, field| framed(message(protocol, name, kind, 1, field), is_framed);
    let read = |stream: &mut std::net::TcpStream, length: usize| {
        stream.read_exact(&mut vec![0; length]).expect("it calls");
    };
    for sequence in [1, 3] {
        read(&mut stream, call("note", TMessageType::OneWay, Some("noted")).len());
        read(&mut stream, call("ping", TMessageType::Call, None).len());
        let answer =
            |name: &str, sequence| framed(message(protocol, name, TMessageType::Reply, sequence, None), is_framed);
        // A client on a loop starts over with each call.
        let next = if is_framed { 1 } else { sequence + 1 };
        stream.write_all(&[answer("note", sequence), answer("ping", next)].concat()).expect("it waits for that");
    }
}

#[test]
fn a_client_does_not_take_an_answer_to_a_oneway_call_for_that_of_the_next() {
    let _watchdog = watchdog();
    for protocol in PROTOCOLS {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = Address::from(listener.local_addr().expect("it is bound"));
        thread::scope(|scope| {
            scope.spawn(|| answering(&listener, protocol, false));
            let wire = Wire::buffered().protocol(protocol);
            let (input, output) = connect(&address, wire, Some(PATIENCE)).expect("it listens");
            let mut calculator = CalculatorSyncClient::new(input, output);
            for _ in 0..2 {
                calculator.note("noted".to_owned()).expect("it is sent");
                calculator.ping().expect("its own answer");
            }
        });
    }
}

fn nor_does_a_client_on_a_loop<L: Net>() {
    let _watchdog = watchdog();
    for protocol in PROTOCOLS {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = Address::from(listener.local_addr().expect("it is bound"));
        thread::scope(|scope| {
            scope.spawn(|| answering(&listener, protocol, true));
            let mut service = Service::new("client");
            let client = task_fn::<L>(async move |cx| {
                let client = ThriftClient::new(&cx, address, Wire::framed().protocol(protocol));
                let calculator = client.calls(CalculatorSyncClient::new);
                for _ in 0..2 {
                    calculator.call(|calculator| calculator.note("noted".to_owned())).await?;
                    calculator.call(|calculator| calculator.ping()).await?;
                }
                Ok(())
            });
            service.task("client", client);
            let report = service.start().expect("the configuration works").join();
            assert_eq!(report.code, 0, "{report}");
        });
    }
}

crate::util::on_each_loop! {
    a_oneway_method_has_no_answer_however_it_is_called,
    nor_has_one_that_fails,
    nor_has_one_that_panics_once_it_is_known,
    nor_has_one_whose_first_call_panics_but_its_connection_is_closed,
    a_oneway_call_that_can_not_be_read_has_no_answer_either,
    nor_does_a_client_on_a_loop,
}
