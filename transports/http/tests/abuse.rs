//! Clients that flood, leave in the middle, or send what they should not, while others are served, and the server stops.

mod util;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use interloop::net::Net;
use interloop_http::HttpServer;
use util::{Hosting, connect, eventually, hi, host, variants, watchdog};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Requests without waiting for their answers, which are read and thrown away, until the connection is closed.
fn flood(stream: &TcpStream) {
    let (mut reader, mut writer) = (stream, stream);
    std::thread::scope(|scope| {
        scope.spawn(move || while reader.read(&mut [0; 1 << 16]).is_ok_and(|length| length > 0) {});
        let requests = GET.repeat(1000);
        while writer.write_all(requests.as_bytes()).is_ok() {}
        let _ = writer.shutdown(Shutdown::Both);
    });
}

/// Others are served, and the server stops as it should.
fn is_well(hosting: Hosting) {
    assert_eq!(connect(hosting.port()).get("/").body, "hi");
    let begin = Instant::now();
    hosting.stop();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

fn a_flood_does_not_hold_up_the_stop<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let hosting = host::<L, _>(HttpServer::new(hi()), arguments);
        let floods = [(); 3].map(|()| TcpStream::connect(hosting.port()).expect("it listens"));
        std::thread::scope(|scope| {
            for stream in &floods {
                scope.spawn(|| flood(stream));
            }
            eventually("it is flooded", || hosting.counter("requests") > 1000);
            is_well(hosting);
        });
    }
}

fn a_reset_in_the_middle_does_no_harm<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    let post = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf";
    for cut in [&GET[..10], GET, post] {
        let mut stream = TcpStream::connect(hosting.port()).expect("it listens");
        stream.write_all(cut.as_bytes()).expect("it is open");
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("it is a socket");
    }
    eventually("all have come", || hosting.counter("connections") == 3);
    eventually("all are gone", || hosting.counter("open_connections") == 0);
    is_well(hosting);
}

/// 99 of 100 requests take no longer.
fn p99(hosting: &Hosting) -> Duration {
    let mut client = connect(hosting.port());
    let mut times = (0..300)
        .map(|_| {
            let begin = Instant::now();
            assert_eq!(client.get("/").body, "hi");
            begin.elapsed()
        })
        .collect::<Vec<_>>();
    times.sort();
    times[times.len() * 99 / 100]
}

fn others_are_served_in_time_whatever_the_rest_does<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    let undisturbed = p99(&hosting);
    let over = AtomicBool::new(false);
    // One only connects, one stays within its head, one takes none of its answers.
    let (_silent, mut within, mut greedy) = (connect(hosting.port()), connect(hosting.port()), connect(hosting.port()));
    within.send(&GET[..10]);
    greedy.send(GET.repeat(1000));
    let flooding = TcpStream::connect(hosting.port()).expect("it listens");
    let disturbed = std::thread::scope(|scope| {
        scope.spawn(|| flood(&flooding));
        scope.spawn(|| {
            while !over.load(Relaxed) {
                let mut garbage = connect(hosting.port());
                garbage.send("\x16\x03\x01 garbage\r\n\r\n");
                garbage.closed();
            }
        });
        eventually("it is disturbed", || hosting.counter("requests") > 2000 && hosting.counter("connections") > 10);
        let disturbed = p99(&hosting);
        over.store(true, Relaxed);
        let _ = flooding.shutdown(Shutdown::Both);
        disturbed
    });
    // Generous: the machine may be busy with more than this, and a stall is no matter of milliseconds.
    assert!(disturbed < 20 * undisturbed + Duration::from_millis(500), "{disturbed:?} instead of {undisturbed:?}");
    is_well(hosting);
}

util::on_each_loop! {
    a_flood_does_not_hold_up_the_stop,
    a_reset_in_the_middle_does_no_harm,
    others_are_served_in_time_whatever_the_rest_does,
}
