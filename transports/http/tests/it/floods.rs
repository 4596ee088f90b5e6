//! Known floods over HTTP/2: clients that send them get no more of the server than others do.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::util::{PATIENCE, connect, eventually, hi, host, watchdog};
use interloop::net::Net;
use interloop_http::HttpServer;
use interloop_own_process::own_process_of_thread;
use interloop_transport_tests::http2::{
    CONTINUATION, Client, DATA, HEADERS, Habits, LAST, PING, RST_STREAM, SETTINGS, WHOLE, block, frame,
};

/// How much more memory the whole process may need: it contains the client, too.
const ROOM: u64 = 64 << 20;

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    4096 * pages
}

/// Lets a client send pieces of bytes without end, while others are served, for a while or until it is disconnected.
/// Returns whether it was.
fn flood<L: Net>(habits: Habits, piece: impl FnMut(u32) -> Vec<u8> + Send) -> bool {
    flood_for::<L>(Duration::from_millis(1500), habits, piece)
}

fn flood_for<L: Net>(time: Duration, habits: Habits, mut piece: impl FnMut(u32) -> Vec<u8> + Send) -> bool {
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    let port = hosting.port();
    assert_eq!(connect(port).get("/").body, "hi");
    let before = resident();
    let over = AtomicBool::new(false);
    let client = Client::connect(port, &[], habits);
    let thrown_out = thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            let mut number = 0;
            while !over.load(Relaxed) {
                // Many frames per write.
                let pieces = (0..100).flat_map(|_| (piece(number), number += 1).0).collect::<Vec<u8>>();
                if client.try_send(&pieces).is_err() {
                    return true;
                }
            }
            false
        });
        let begin = Instant::now();
        let mut other = connect(port);
        while begin.elapsed() < time {
            let asked = Instant::now();
            assert_eq!(other.get("/").body, "hi");
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
            if flooding.is_finished() {
                break;
            }
        }
        let most = resident();
        assert!(most < before + ROOM, "{} MiB", (most - before) >> 20);
        over.store(true, Relaxed);
        // A client that isn't read from must not wait for that.
        if !flooding.is_finished() {
            let _ = client.socket().shutdown(std::net::Shutdown::Both);
        }
        flooding.join().expect("no panic")
    });
    drop(client);
    eventually("it is gone", || hosting.counter("open_connections") <= 1);
    let begin = Instant::now();
    hosting.stop();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    thrown_out
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, LAST | WHOLE, stream, &block("GET", "/", &[]))
}

fn requests_that_are_reset_at_once<L: Net>() {
    own_process_of_thread(|| {
        let _watchdog = watchdog();
        flood::<L>(Habits::default(), |number| {
            [get(2 * number + 1), frame(RST_STREAM, 0, 2 * number + 1, &8u32.to_be_bytes())].concat()
        });
    });
}

fn settings_without_end<L: Net>() {
    own_process_of_thread(|| {
        let _watchdog = watchdog();
        for read in [true, false] {
            flood::<L>(Habits { read, ..Habits::default() }, |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]));
        }
    });
}

fn pings_without_end<L: Net>() {
    own_process_of_thread(|| {
        let _watchdog = watchdog();
        for read in [true, false] {
            flood::<L>(Habits { read, ..Habits::default() }, |_| frame(PING, 0, 0, b"are here"));
        }
    });
}

fn a_head_without_end<L: Net>() {
    own_process_of_thread(|| {
        let _watchdog = watchdog();
        // The rest is read for a while, and thrown away.
        let thrown_out = flood_for::<L>(PATIENCE, Habits::default(), |number| match number {
            0 => frame(HEADERS, LAST, 1, &block("GET", "/", &[])),
            _ => frame(CONTINUATION, 0, 1, &[&[0, 1, b'x', 100][..], &[b'y'; 100]].concat()),
        });
        assert!(thrown_out);
    });
}

fn continuations_of_nothing<L: Net>() {
    own_process_of_thread(|| {
        let _watchdog = watchdog();
        flood::<L>(Habits::default(), |number| match number {
            0 => frame(HEADERS, LAST, 1, &block("GET", "/", &[])),
            _ => frame(CONTINUATION, 0, 1, b""),
        });
    });
}

fn data_without_any<L: Net>() {
    own_process_of_thread(|| {
        let _watchdog = watchdog();
        flood::<L>(Habits::default(), |number| match number {
            0 => frame(HEADERS, WHOLE, 1, &block("POST", "/", &[])),
            _ => frame(DATA, 0, 1, b""),
        });
    });
}

fn more_requests_than_there_may_be<L: Net>() {
    own_process_of_thread(|| {
        let _watchdog = watchdog();
        flood::<L>(Habits::default(), |number| get(2 * number + 1));
    });
}

interloop_transport_tests::on_loops! {
    {
        on_tokio: interloop_tokio::Tokio,
        on_thread: interloop::Thread,
        on_glib: interloop_glib::Glib
    }
    {
        requests_that_are_reset_at_once,
        settings_without_end,
        pings_without_end,
        a_head_without_end,
        continuations_of_nothing,
        data_without_any,
        more_requests_than_there_may_be,
    }
}
