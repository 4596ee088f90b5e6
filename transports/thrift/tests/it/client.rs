//! Generated clients on any loop.

use std::{
    cell::Cell,
    io::Read,
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    time::{Duration, Instant},
};

use crate::util::{
    Handler, Hosting, PATIENCE, application, both,
    calc::{CalculatorSyncClient, EchoSyncClient, NoResult, Operation, TCalculatorSyncClient, TEchoSyncClient, Work},
    calculator, eventually, host, watchdog, wires,
};
use interloop::{Context, Error, NoOptions, Result, Service, net::Net, task_fn};
use interloop_thrift::{Address, Calls, Input, Output, ThriftClient, Wire};
use socket2::{Domain, Socket, Type};
use thrift::{ApplicationErrorKind, TransportErrorKind};

type Calculator<L> = Calls<L, CalculatorSyncClient<Input, Output>>;

/// Runs this as a task of a service of its own.
fn client<L: Net>(run: impl AsyncFnOnce(Context<L>) -> Result + Send + 'static) {
    let mut service = Service::new("client");
    service.task("client", task_fn::<L>(run));
    let report = service.start().expect("the configuration works").join();
    assert_eq!(report.code, 0, "{report}");
}

/// Starts a server on a thread of its own, whatever the client's loop.
fn server(handler: &Handler, arguments: &[&str]) -> Hosting {
    host::<interloop::Thread>(both(handler), arguments)
}

fn calls_bring_results_exceptions_and_errors_over_every_wire<L: Net>() {
    let _watchdog = watchdog();
    let handler = Handler::default();
    let hosting = server(&handler, &[]);
    let address = hosting.address().clone();
    client::<L>(async move |cx| {
        for wire in wires() {
            let client = ThriftClient::new(&cx, address.clone(), wire);
            let calculator = client.calls_of("Calculator", CalculatorSyncClient::new);
            let echo = client.calls_of("Echo", EchoSyncClient::new);
            let work = Work::new(20, 22, None, "a comment".to_owned());
            assert_eq!(calculator.call(|calculator| calculator.calculate(work.clone())).await?, 42);
            calculator.call(|calculator| calculator.ping()).await?;
            let bytes = vec![7; 300_000];
            assert!(echo.call(|echo| echo.bytes(bytes.clone())).await? == bytes);
            let divide = Work::new(1, 0, Operation::DIVIDE, None);
            match calculator.call(|calculator| calculator.calculate(divide.clone())).await {
                Err(thrift::Error::User(error)) => assert!(error.is::<NoResult>()),
                other => panic!("{other:?}"),
            }
            // It reveals that it has an answer.
            calculator.call(|calculator| calculator.act("more".to_owned())).await?;
            let panicked = calculator.call(|calculator| calculator.act("panic".to_owned())).await;
            assert_eq!(application(panicked).kind, ApplicationErrorKind::InternalError);
            // Without a name the default service answers.
            let unnamed = client.calls(CalculatorSyncClient::new);
            unnamed.call(|calculator| calculator.note("oneway".to_owned())).await?;
            let notes = unnamed.call(|calculator| calculator.notes()).await?;
            assert_eq!(notes.last().map(|note| &**note), Some("oneway"));
        }
        Ok(())
    });
    assert_eq!(hosting.counter("connections"), 4, "all calls of a client go over one connection");
    assert_eq!(*handler.notes.lock().expect("no panic"), ["oneway"; 4]);
    hosting.stop();
}

fn the_closure_is_called_twice_or_once_where_there_is_no_answer<L: Net>() {
    let _watchdog = watchdog();
    let hosting = server(&Handler::default(), &[]);
    let address = hosting.address().clone();
    client::<L>(async move |cx| {
        let calculator: Calculator<L> =
            ThriftClient::new(&cx, address, Wire::framed()).calls(CalculatorSyncClient::new);
        let times = Cell::new(0);
        let count = || times.set(times.get() + 1);
        calculator
            .call(|calculator| {
                count();
                calculator.ping()
            })
            .await?;
        assert_eq!(times.take(), 2);
        calculator
            .call(|calculator| {
                count();
                calculator.note(String::new())
            })
            .await?;
        assert_eq!(times.take(), 1);
        assert_eq!(calculator.call(|_| Ok(5)).await?, 5);
        // Two calls are one too many: this is reported, and does no harm.
        let two = calculator.call(|calculator| calculator.ping().and_then(|()| calculator.ping())).await;
        assert!(
            matches!(&two, Err(thrift::Error::Transport(error)) if error.message == "a closure makes one call"),
            "{two:?}"
        );
        calculator.call(|calculator| calculator.ping()).await?;
        Ok(())
    });
    hosting.stop();
}

fn calls_at_once_have_their_turns<L: Net>() {
    let _watchdog = watchdog();
    let hosting = server(&Handler::default(), &[]);
    let address = hosting.address().clone();
    client::<L>(async move |cx| {
        let calculator: Calculator<L> =
            ThriftClient::new(&cx, address, Wire::buffered()).calls(CalculatorSyncClient::new);
        let sums = (0..50).map(|number| {
            let calculator = calculator.clone();
            let work = Work::new(number, number, None, None);
            cx.spawn_local(async move { calculator.call(|calculator| calculator.calculate(work.clone())).await })
        });
        for (number, sum) in (0..).zip(sums.collect::<Vec<_>>()) {
            assert_eq!(sum.await??, 2 * number);
        }
        Ok(())
    });
    assert_eq!(hosting.counter("connections"), 1);
    hosting.stop();
}

fn a_call_that_takes_too_long_is_given_up_and_the_next_one_goes_on<L: Net>() {
    let _watchdog = watchdog();
    let handler = Handler::default();
    let hosting = server(&handler, &["--thrift-workers", "2"]);
    let address = hosting.address().clone();
    client::<L>(async move |cx| {
        let calculator: Calculator<L> =
            ThriftClient::new(&cx, address, Wire::framed()).calls(CalculatorSyncClient::new);
        let hasty = calculator.clone().timeout(Duration::from_millis(100));
        let late = hasty.call(|calculator| calculator.act("block".to_owned())).await;
        assert!(
            matches!(&late, Err(thrift::Error::Transport(error)) if error.kind == TransportErrorKind::TimedOut),
            "{late:?}"
        );
        // Not the answer to that one.
        assert_eq!(calculator.call(|calculator| calculator.act("next".to_owned())).await?, "next");
        Ok(())
    });
    eventually("it is at it", || handler.gate.waiting() == 1);
    handler.gate.open();
    hosting.stop();
}

fn a_server_that_is_not_there_is_waited_for<L: Net>() {
    let _watchdog = watchdog();
    let (nobody, _reserved) = reserved_port();
    client::<L>(async move |cx| {
        let calculator: Calculator<L> = ThriftClient::new(&cx, nobody, Wire::framed()).calls(CalculatorSyncClient::new);
        let hasty = calculator.clone().timeout(Duration::from_millis(200));
        let begin = Instant::now();
        let error = hasty.call(|calculator| calculator.ping()).await.expect_err("nobody is there");
        assert!(begin.elapsed() >= Duration::from_millis(150), "{:?}", begin.elapsed());
        assert!(
            matches!(&error, thrift::Error::Transport(error) if error.message.starts_with("no connection within 200ms: ")),
            "{error:?}"
        );
        // It comes while the call waits for it.
        let hosting = calculator_at(nobody);
        calculator.timeout(PATIENCE).call(|calculator| calculator.ping()).await?;
        hosting.stop();
        Ok(())
    });
}

/// Reserves a port that only this test listens on: other tests, which run at the same time and ask for any free port,
/// don't get it while the socket exists.
fn reserved_port() -> (SocketAddr, Socket) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("a server can bind it too");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
    (socket.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound"), socket)
}

fn calculator_at(port: SocketAddr) -> Hosting {
    host::<interloop::Thread>(calculator(&Handler::default()), &["--thrift-port", &port.port().to_string()])
}

fn a_connection_that_the_server_has_closed_is_made_anew<L: Net>() {
    let _watchdog = watchdog();
    let (port, _reserved) = reserved_port();
    let hosting = calculator_at(port);
    client::<L>(async move |cx| {
        let calculator: Calculator<L> = ThriftClient::new(&cx, port, Wire::framed()).calls(CalculatorSyncClient::new);
        calculator.call(|calculator| calculator.ping()).await?;
        hosting.stop();
        let hosting = calculator_at(port);
        calculator.call(|calculator| calculator.ping()).await?;
        hosting.stop();
        Ok(())
    });
}

fn an_answer_that_is_none_is_an_error<L: Net>() {
    let _watchdog = watchdog();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a socket");
    let answers: [&[u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x80\x01\0\x02\x7f\xff\xff\xff",
        b"\0\0\0\x11\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x01\0", // a call
        b"",
        // For another method: the connection is kept, and the next caller may not know yet that it is closed.
        b"\0\0\0\x11\x80\x01\0\x02\0\0\0\x04pong\0\0\0\x01\0",
    ];
    let (over, wait) = mpsc::channel::<()>();
    let peer = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.read_exact(&mut [0; 21]).expect("a call");
            std::io::Write::write_all(&mut stream, answer).expect("it is open");
            // Closed, so that the next call reconnects.
        }
        let _ = wait.recv();
    });
    client::<L>(async move |cx| {
        let calculator: Calculator<L> =
            ThriftClient::new(&cx, address, Wire::framed()).calls(CalculatorSyncClient::new);
        for answer in answers {
            let error = calculator.call(|calculator| calculator.ping()).await.expect_err("that is no answer");
            let known = matches!(
                error,
                thrift::Error::Protocol(_) | thrift::Error::Transport(_) | thrift::Error::Application(_)
            );
            assert!(known, "{answer:?}: {error:?}");
        }
        Ok(())
    });
    drop(over);
    peer.join().expect("no panic");
}

fn a_client_and_a_server_share_a_loop<L: Net>() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s");
    let (mut service, _) = crate::util::service::<L>(calculator(&Handler::default()).unix(&path), &[]);
    let ask = task_fn::<L>(async move |cx: Context<L, NoOptions>| {
        let calculator: Calculator<L> =
            ThriftClient::new(&cx, Address::Unix(path), Wire::framed()).calls(CalculatorSyncClient::new);
        let work = Work::new(1, 2, None, None);
        let sum = calculator.call(|calculator| calculator.calculate(work.clone())).await?;
        if sum != 3 {
            return Err(Error::new("a wrong sum"));
        }
        cx.service().request_shutdown("done");
        Ok(())
    });
    service.task("asks", ask).requires("thrift");
    let report = service.start().expect("the configuration works").join();
    assert_eq!(report.code, 0, "{report}");
}

crate::util::on_each_loop! {
    calls_bring_results_exceptions_and_errors_over_every_wire,
    the_closure_is_called_twice_or_once_where_there_is_no_answer,
    calls_at_once_have_their_turns,
    a_call_that_takes_too_long_is_given_up_and_the_next_one_goes_on,
    a_server_that_is_not_there_is_waited_for,
    a_connection_that_the_server_has_closed_is_made_anew,
    an_answer_that_is_none_is_an_error,
    a_client_and_a_server_share_a_loop,
}
