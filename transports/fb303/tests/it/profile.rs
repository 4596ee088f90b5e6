//! Profiles of the process. One test, since there is one profiler in a process, and `cargo test` runs a file's tests in
//! one process. The kit provides the watchdog.

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use crate::util::client;
use interloop::{
    Context, NoOptions, Result, Service, Task, Thread,
    net::Net,
    testing::{RunningTest, TestService},
};
use interloop_fb303::{Base, Fb303, Fb303Server, fb303::TFacebookServiceSyncClient};
use interloop_glib::Glib;
use interloop_mio::Mio;
use interloop_thrift::{ThriftServer, Wire};
use interloop_tokio::Tokio;

/// Computes on its loop's thread, in pieces, until the stop.
struct Busy;

impl<L: Net> Task<L> for Busy {
    type Options = NoOptions;

    async fn run(&mut self, cx: Context<L>) -> Result {
        cx.ready();
        let pieces = cx.counter("pieces");
        while !cx.shutdown().is_requested() {
            computes_a_piece();
            pieces.add(1);
            cx.sleep(Duration::from_micros(100)).await;
        }
        Ok(())
    }
}

#[inline(never)]
fn computes_a_piece() {
    for number in 0..20_000_u64 {
        black_box(black_box(number).wrapping_mul(number));
    }
}

fn start<L: Net>(arguments: &[&str]) -> RunningTest {
    let mut service = Service::new("shop");
    service.task_on::<Thread>("fb303", Fb303Server::new());
    service.task_on::<L>("busy", Busy);
    TestService::new(service).args(arguments).start()
}

/// Returns what was wrong with the call.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: thrift::Result<T>) -> String {
    match result {
        Err(thrift::Error::Application(error)) => error.message,
        other => panic!("{other:?}"),
    }
}

/// While signals interrupt the loop, it goes on.
fn a_busy_loop_is_seen<L: Net>(thread: &str) {
    let test = start::<L>(&[]);
    let mut client = client(test.tcp("fb303"), Wire::framed());
    let folded = client.get_cpu_profile(1).expect("there is a profiler");
    let line = folded.lines().find(|line| line.starts_with(&format!("{thread};")) && line.contains("computes_a_piece"));
    let line = line.unwrap_or_else(|| panic!("{thread} is not there: {folded}"));
    assert!(line.rsplit(' ').next().is_some_and(|count| count.parse::<u64>().is_ok_and(|count| count > 0)), "{line}");
    drop(client);
    test.stop().assert_clean();
}

fn others_are_answered_meanwhile_and_one_at_a_time() {
    let test = start::<Thread>(&[]);
    let address = test.tcp("fb303");
    let busy = "a profile is being taken already";
    let profile = thread::spawn(move || {
        let mut client = client(address, Wire::framed());
        // Until the other one, which checks whether it has begun, lets it.
        loop {
            match client.get_cpu_profile(60) {
                Err(thrift::Error::Application(error)) if error.message == busy => {}
                profile => return profile,
            }
        }
    });
    let base = Base::new(test.handle().clone());
    let second = Duration::from_secs(1);
    test.wait_until("the first has begun", || base.cpu_profile(second).is_err_and(|why| why.to_string() == busy));
    let mut other = client(address, Wire::framed());
    assert_eq!(other.get_name().expect("an answer"), "shop");
    assert_eq!(refused(other.get_cpu_profile(1)), busy);
    drop(other);
    // This takes long enough to be sampled.
    let pieces = test.counter("busy.pieces");
    test.wait_until("it is busy", || test.counter("busy.pieces") > pieces + 2000);
    // The stop ends it, with the samples so far.
    let asked = Instant::now();
    test.stop().assert_clean();
    assert!(asked.elapsed() < Duration::from_secs(30));
    let folded = profile.join().expect("no panic").expect("it is answered");
    assert!(folded.contains("computes_a_piece"), "{folded}");
    // Like one that is taken later: it is empty, and not drawn.
    let after = base.cpu_profile(Duration::from_secs(60)).expect("it may");
    assert!(after.flame_graph("shop").is_err() || after.histogram() > 0);
}

fn a_loop_is_not_blocked() {
    let why = "profiles are not allowed: they would block the loop of a server without workers";
    let test = start::<Thread>(&["--fb303-workers", "0"]);
    let mut none = client(test.tcp("fb303"), Wire::framed());
    assert_eq!(refused(none.get_cpu_profile(1)), why);
    drop(none);
    test.stop().assert_clean();

    let mut service = Service::new("shop");
    service.task_on::<Thread>("fb303", ThriftServer::new(Fb303::new(service.handle())));
    let test = TestService::new(service).start();
    let mut plain = client(test.tcp("fb303"), Wire::framed());
    assert_eq!(refused(plain.get_cpu_profile(1)), why);
    drop(plain);
    test.stop().assert_clean();
}

fn a_flame_graph_is_drawn() {
    let test = start::<Thread>(&[]);
    let base = Base::new(test.handle().clone());
    for time in [Duration::ZERO, Duration::from_millis(999), Duration::from_millis(60_001)] {
        assert!(base.cpu_profile(time).is_err_and(|why| why.to_string().starts_with("a profile takes from 1 s")));
    }
    let profile = base.cpu_profile(Duration::from_secs(1)).expect("there is a profiler");
    let svg = profile.flame_graph("the shop").expect("it was busy");
    assert!(svg.starts_with("<?xml") && svg.contains("the shop") && svg.contains("computes_a_piece"), "{svg}");
    test.stop().assert_clean();
}

#[test]
fn profiles_are_taken_of_the_whole_process() {
    a_busy_loop_is_seen::<Thread>("busy");
    a_busy_loop_is_seen::<Tokio>("tokio");
    a_busy_loop_is_seen::<Glib>("glib");
    a_busy_loop_is_seen::<Mio>("mio");
    others_are_answered_meanwhile_and_one_at_a_time();
    a_loop_is_not_blocked();
    a_flame_graph_is_drawn();
}
