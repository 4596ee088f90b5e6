//! Hand-written code as people write it today, each piece as its documentation recommends.
//!
//! Every function runs `n` operations on threads of its own and returns how long they took; starting and ending the
//! threads is not included. A *call* is a question and its answer, one at a time, both threads on one CPU. A *post* is
//! a boxed closure that changes a counter on the other thread; the time ends when the last one has run.

pub mod async_channel;
pub mod dbus;
pub mod futex;
pub mod glib;
pub mod grpc;
pub mod http;
pub mod idle;
pub mod lateness;
pub mod queue;
pub mod sparts;
pub mod std_channel;
pub mod sums;
pub mod tally;
pub mod thrift;
pub mod tls;
pub mod tokio;

use std::cell::Cell;
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::pin::spawn_on;
use crate::suite::Suite;
use crate::thrift_load::cpu_per_call;
use crate::{dbus_load, grpc_load, tls_load};

/// The comparison of calls.
pub const CALL: &str = "call";
/// The comparison of posts by one producer.
pub const POST: &str = "post-1";
/// The comparison of posts by eight producers.
pub const POST_8: &str = "post-8";
/// The comparison of HTTP by CPU time.
pub const HTTP: &str = "http-cpu";
/// The comparison of starts.
pub const START: &str = "start";

/// The floor of all calls.
pub const FUTEX: &str = "bare futex";
/// The contestant that posts are compared with.
pub const ASYNC_CHANNEL: &str = "async-channel to thread";
/// glib's own way to post.
pub const INVOKE: &str = "MainContext::invoke";
/// The contestant that HTTP and starts are compared with.
pub const BARE_AXUM: &str = "bare axum, tokio current-thread";

/// The contestant that HTTP on smol is compared with.
pub const BARE_SMOL: &str = "bare hyper, smol";
/// The comparisons of HTTP on every loop, and their numbers of connections.
pub const HTTP_ON: [(&str, usize); 2] = [("http-loops-32", 32), ("http-loops-256", 256)];

/// Adds the comparisons, with their baselines.
pub fn register(suite: &mut Suite) {
    suite
        .compare(CALL, 50_000, "A question and its answer across threads, one at a time, both threads on one CPU.")
        .parts(2)
        .add(FUTEX, futex::calls)
        .link(futex::LINK)
        .add("thread to thread: std channels", std_channel::calls)
        .link(std_channel::LINK)
        .add("thread to tokio: mpsc, oneshot", tokio::calls_from_thread)
        .link(tokio::BRIDGING)
        .add("tokio to tokio: mpsc, oneshot", tokio::calls_from_tokio)
        .link(tokio::CHANNELS)
        .add("thread to glib: async-channel, oneshot", glib::calls_from_thread)
        .link(glib::BOOK)
        .add("tokio to glib: async-channel, oneshot", glib::calls_from_tokio)
        .link(glib::BOOK)
        .add("glib to tokio: mpsc, oneshot", glib::calls_to_tokio)
        .link(glib::BOOK);
    for (id, producers, operations, question) in [
        (POST, 1, 1_000_000, "Closures posted by one thread to another, each thread on a CPU of its own."),
        (POST_8, 8, 1_000_000, "Closures posted by eight threads to another, on any CPU."),
    ] {
        suite
            .compare(id, operations, question)
            .parts(5)
            .add(ASYNC_CHANNEL, move |n| async_channel::posts(producers, n))
            .link(async_channel::LINK)
            .add("async-channel to tokio", move |n| async_channel::posts_to_tokio(producers, n))
            .link(async_channel::LINK)
            .add("async-channel to glib", move |n| async_channel::posts_to_glib(producers, n))
            .link(glib::BOOK)
            .add("tokio's mpsc to tokio", move |n| tokio::posts(producers, n))
            .link(tokio::CHANNELS)
            .add(INVOKE, move |n| glib::invokes(producers, n))
            .link(glib::INVOKE_LINK);
    }
    suite
        .compare(
            HTTP,
            100_000,
            "CPU time (user and system) of the server a request of `Hello, world`: 32 connections that are kept alive, \
             server and load each on a CPU of its own. Requests a second stand beside it.",
        )
        .parts(10)
        .add_fallible(BARE_AXUM, |n| crate::http_load::cpu_per_request(http::bare_axum, 32, n))
        .link(http::LINK);
    for (id, connections) in HTTP_ON {
        let question = "As http-cpu, on every loop; so many connections as the name says.";
        suite
            .compare(id, 60_000, question)
            .parts(3)
            .add_fallible(BARE_AXUM, move |n| crate::http_load::cpu_per_request(http::bare_axum, connections, n))
            .link(http::LINK)
            .add_fallible(BARE_SMOL, move |n| crate::http_load::cpu_per_request(http::bare_smol, connections, n))
            .link(http::SMOL_LINK);
    }
    suite
        .compare(
            tls::TLS,
            60_000,
            "CPU time (user and system) of the server a request of `Hello, world` over TLS: 32 connections that are kept alive, \
             server and load each on a CPU of its own. Requests a second stand beside it.",
        )
        .parts(3)
        .add_fallible(tls::BARE_TLS, |n| tls_load::cpu_per_request(tls::bare_tls, n))
        .link(tls::LINK);
    suite
        .compare(
            tls::HANDSHAKE,
            6_000,
            "CPU time (user and system) of the server a connection that shakes hands, whole, and is closed: 32 at once, server \
             and load each on a CPU of its own. Handshakes a second stand beside it.",
        )
        .parts(3)
        .add_fallible(tls::BARE_TLS, |n| tls_load::cpu_per_handshake(tls::bare_tls, n))
        .link(tls::LINK);
    suite
        .compare(
            grpc::GRPC,
            60_000,
            "CPU time (user and system) of the server a unary call of gRPC: four connections with eight calls under way each, \
             server and load each on a CPU of its own. Calls a second stand beside it.",
        )
        .parts(3)
        .add_fallible(grpc::BARE_TONIC, |n| grpc_load::cpu_per_call(grpc::bare_tonic, n))
        .link(grpc::LINK);
    suite
        .compare(
            dbus::DBUS,
            20_000,
            "CPU time (user and system) of a service on D-Bus a call: `Add` of two i64, 16 calls of one client under way, the \
             service on one CPU, client and dbus-daemon on another. Calls a second stand beside it.",
        )
        .parts(3)
        .add_fallible(dbus::BARE_ZBUS, |n| dbus_load::cpu_per_call(dbus::bare_zbus, n))
        .link(dbus::LINK);
    let has_nb_server = thrift::has_nb_server();
    let answered = if has_nb_server { thrift::SLOW } else { thrift::MISSING };
    let question = format!(
        "CPU time (user and system) of the server a call of Thrift, framed and binary: `add` of two i64, {} connections, \
         server and load each on a CPU of its own. Calls a second stand beside it. {answered}",
        thrift::CONNECTIONS,
    );
    let comparison = suite.compare(thrift::THRIFT, 60_000, question.leak()).parts(3);
    comparison
        .add_fallible(thrift::T_SERVER, |n| cpu_per_call(thrift::t_server, thrift::CONNECTIONS, n))
        .link(thrift::LINK);
    if has_nb_server {
        comparison
            .add_fallible("sparts: NBServerTask", |n| {
                cpu_per_call(thrift::nb_server, thrift::CONNECTIONS, (n / 10).max(10))
            })
            .link(sparts::LINK);
    }
    suite
        .compare(START, 100, "From the start of the server's process to its first answer.")
        .parts(10)
        .add_fallible(BARE_AXUM, |n| crate::http_load::start_to_first_answer(http::bare_axum, n))
        .link(http::LINK);
    for (id, load) in lateness::LATENESS {
        let question = if load == 0 {
            "How late ticks are that come every 5 ms: the 50th and the 99th percentile."
        } else {
            "The same while two threads spin."
        };
        suite
            .compare(id, 100, question)
            .columns("p50", "p99")
            .add_fallible("std::thread::sleep", move |n| Ok(lateness::measure(load, || lateness::sleep(n))))
            .link(lateness::SLEEP)
            .add_fallible("tokio::time::interval", move |n| Ok(lateness::measure(load, || lateness::interval(n))))
            .link(lateness::INTERVAL_LINK);
    }
    let python = sparts::python();
    for (comparisons, measure, sparts_mode, operations, question) in [
        (
            queue::QUEUE,
            queue::results as fn(queue::Hire, usize, u32) -> Duration,
            "results",
            5_000,
            "Items through a queue and their results back, by so many workers as the name says: a hundred are submitted, then their results awaited.",
        ),
        (
            queue::QUEUE_POST,
            queue::posts,
            "posts",
            20_000,
            "Items through a queue whose results nobody wants, by so many workers as the name says, until the last was worked on.",
        ),
    ] {
        for (id, workers) in comparisons {
            let question = match &python {
                Some(_) => format!("{question} {}", sparts::SLOW).leak(),
                None => format!("{question} {}", sparts::MISSING).leak(),
            };
            let comparison = suite.compare(id, operations, question);
            comparison
                .add("async-channel: threads", move |n| measure(queue::threads, workers, n))
                .link(async_channel::LINK)
                .add("async-channel: on tokio", move |n| measure(queue::tokio, workers, n))
                .link(async_channel::LINK)
                .add("async-channel: on glib", move |n| measure(queue::glib, workers, n))
                .link(glib::BOOK);
            if let Some(python) = python.clone() {
                comparison
                    .add_fallible("sparts: QueueTask", move |n| sparts::queue(&python, sparts_mode, workers, n))
                    .link(sparts::LINK);
            }
        }
    }
}

/// A posted job: it changes something that lives on the consumer's thread.
pub type Job = Box<dyn FnOnce(&Cell<u32>) + Send>;

/// Returns the job of all posts.
pub fn count_one() -> Job {
    Box::new(|count| count.set(count.get() + 1))
}

/// Makes `n` calls in a row, after a tenth as many that don't count.
pub fn time_calls(n: u32, mut call: impl FnMut(u64) -> u64) -> Duration {
    let mut run = |n: u32| {
        for i in 0..u64::from(n) {
            assert_eq!(call(i), i + 1);
        }
    };
    run(n / 10 + 1);
    let begin = Instant::now();
    run(n);
    begin.elapsed()
}

/// Does the same as [`time_calls`] for calls that are awaited.
pub async fn time_async_calls(n: u32, mut call: impl AsyncFnMut(u64) -> u64) -> Duration {
    for i in 0..u64::from(n / 10 + 1) {
        assert_eq!(call(i).await, i + 1);
    }
    let begin = Instant::now();
    for i in 0..u64::from(n) {
        assert_eq!(call(i).await, i + 1);
    }
    begin.elapsed()
}

/// The threads that post, and when they began.
#[derive(Debug)]
pub struct Producers {
    barrier: Arc<Barrier>,
    threads: Vec<JoinHandle<Instant>>,
}

impl Producers {
    /// Starts `count` threads that wait for [`go`](Self::go), and then post `n` jobs in all; a single thread stays on
    /// `cpu`.
    pub fn start<P: FnMut() + Send + 'static>(count: u32, n: u32, cpu: usize, mut poster: impl FnMut() -> P) -> Self {
        let barrier = Arc::new(Barrier::new(count as usize + 1));
        let threads = (0..count).map(|index| {
            let share = n / count + u32::from(index < n % count);
            let barrier = barrier.clone();
            let mut post = poster();
            let run = move || {
                barrier.wait();
                let begin = Instant::now();
                for _ in 0..share {
                    post();
                }
                begin
            };
            if count == 1 { spawn_on(cpu, run) } else { std::thread::spawn(run) }
        });
        let threads = threads.collect();
        Self { barrier, threads }
    }

    /// Lets the threads go, and waits for `consumer`, which returns when it ran the last job. The time begins when the
    /// first thread does.
    pub fn go(self, consumer: JoinHandle<Instant>) -> Duration {
        self.barrier.wait();
        let begins = self.threads.into_iter().map(|thread| thread.join().expect("a producer doesn't panic"));
        let begin = begins.min().expect("one producer at least");
        let end = consumer.join().expect("the consumer doesn't panic");
        end - begin
    }
}

/// Starts the consumer's thread: on a CPU of its own for one producer, on any for more.
pub fn consumer(producers: u32, cpu: usize, run: impl FnOnce() -> Instant + Send + 'static) -> JoinHandle<Instant> {
    if producers == 1 { spawn_on(cpu, run) } else { std::thread::spawn(run) }
}
