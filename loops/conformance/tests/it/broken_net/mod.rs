//! Loops whose sockets are broken: each check of sockets and of HTTP finds one, in its own words, within five seconds;
//! and the loop passes most of the others.

mod fault;
mod faulty;
mod listener;
mod stream;
mod watch;

use std::time::Duration;

use self::{fault::Fault, faulty::Faulty};
use crate::finding;
use interloop_conformance::{Check, Subject, http_checks, net_checks, watch_fd_checks};

fn checks() -> Vec<Check<Faulty>> {
    net_checks().into_iter().chain(watch_fd_checks()).chain(http_checks()).collect()
}

/// Runs a check; returns its message if it fails.
fn run(fault: Fault, check: &Check<Faulty>) -> Result<(), String> {
    finding::run(|| (check.run)(&Subject::new(Faulty(fault)).with_patience(Duration::from_secs(4))))
}

/// Checks that the loop fails this check, with these words.
fn is_found(fault: Fault, name: &str, words: &str) {
    let checks = checks();
    let check = checks.iter().find(|check| check.name == name).expect("there is such a check");
    finding::is_found(words, || run(fault, check));
}

/// Checks that only one thing is wrong with the loop: it passes more than half of some quick checks.
fn passes_most(fault: Fault) {
    const QUICK: [&str; 9] = [
        "who_stops_sending_still_receives",
        "a_reset_by_the_peer_is_an_error_and_not_an_end",
        "where_nobody_listens_a_connect_is_refused",
        "an_accept_that_is_dropped_loses_no_connection",
        "a_reader_is_told_of_the_end_that_came_with_the_last_bytes",
        "a_watched_pipe_says_when_it_can_be_read_and_written",
        "urgent_data_is_told",
        "a_timer_wakes_a_loop_at_rest",
        "a_kept_connection_serves_request_after_request",
    ];
    let checks = checks();
    let quick: Vec<_> = checks.iter().filter(|check| QUICK.contains(&check.name)).collect();
    assert_eq!(quick.len(), QUICK.len());
    finding::passes_most(quick.into_iter().map(|check| (check.name, run(fault, check))));
}

macro_rules! broken {
    ($($loop:ident($fault:ident) fails $($check:ident: $words:literal),+;)+) => {
        $(mod $loop {
            use super::Fault;

            mod fails {
                use super::Fault;

                $(#[test]
                fn $check() {
                    crate::broken_net::is_found(Fault::$fault, stringify!($check), $words);
                })+
            }

            #[test]
            fn passes_most() {
                crate::broken_net::passes_most(Fault::$fault);
            }
        })+

        /// Each check, and a loop that it finds.
        const PAIRS: &[(&str, &str)] = &[$($((stringify!($check), stringify!($loop))),+),+];
    };
}

broken! {
    drops_a_byte_now_and_then(DropsAByteNowAndThen)
        fails a_stream_of_tcp_carries_every_byte_both_ways: "gets a wrong byte at",
        a_chunked_body_comes_and_goes_whole: "a chunked body",
        streams_of_http2_share_a_connection: "HTTP/2: ";
    wakes_one_half_only(WakesOneHalfOnly)
        fails a_unix_stream_carries_every_byte_both_ways: "gets nothing more after";
    leaves_the_unix_sockets_file(LeavesTheUnixSocketsFile)
        fails a_unix_stream_carries_every_byte_both_ways: "the Unix socket's file is left";
    goes_on_sending_after_a_close(GoesOnSendingAfterAClose)
        fails who_stops_sending_still_receives: "a stream that has been closed gets";
    takes_a_reset_for_the_end(TakesAResetForTheEnd)
        fails a_reset_by_the_peer_is_an_error_and_not_an_end: "a reset by the peer came as the end";
    accepts_a_hundred(AcceptsAHundred)
        fails a_thousand_connections_at_once_are_all_served: "connection 100 of 200 is not accepted";
    misnames_a_refusal(MisnamesARefusal)
        fails where_nobody_listens_a_connect_is_refused: "that nobody listens came as other error";
    is_silent_about_a_refusal(IsSilentAboutARefusal)
        fails where_nobody_listens_a_connect_is_refused: "that nobody listens is not told";
    loses_what_a_dropped_accept_took(LosesWhatADroppedAcceptTook)
        fails an_accept_that_is_dropped_loses_no_connection: "a connection is lost with the accept that was dropped";
    sees_one_batch_of_events(SeesOneBatchOfEvents)
        fails four_hundred_sockets_ready_at_once_are_all_seen: "of 400 is not seen to be ready";
    forgets_the_end_after_a_short_read(ForgetsTheEndAfterAShortRead)
        fails a_reader_is_told_of_the_end_that_came_with_the_last_bytes:
            "the end that came with the last bytes is not told";
    tells_that_it_can_be_written_once(TellsThatItCanBeWrittenOnce)
        fails a_watched_pipe_says_when_it_can_be_read_and_written: "a drained socket is not ready to be written";
    tells_readiness_without_end(TellsReadinessWithoutEnd)
        fails a_watched_pipe_says_when_it_can_be_read_and_written: "a full socket is said to be ready";
    is_silent_about_urgent_data(IsSilentAboutUrgentData) fails urgent_data_is_told: "urgent data is not told";
    tells_that_it_can_be_read_once(TellsThatItCanBeReadOnce)
        fails the_ends_of_connections_that_nobody_reads_are_told: "it is not told that a client";
    watches_nothing_for_servers(WatchesNothingForServers)
        fails the_ends_of_connections_that_nobody_reads_are_told: "it is not told that a client";
    keeps_one_timer(KeepsOneTimer) fails a_timer_wakes_a_loop_at_rest: "a timer of 60ms is lost";
    begins_timers_anew_beside_sockets(BeginsTimersAnewBesideSockets)
        fails timers_run_beside_sockets: "is lost: it does not ring";
    starves_sockets(StarvesSockets)
        fails a_flood_of_posts_starves_no_socket: "a flood of posts starves the sockets";
    looks_at_sockets_by_time(LooksAtSocketsByTime) fails open_sockets_cost_no_wakeups: "open sockets wake the loop";
    spins_beside_open_sockets(SpinsBesideOpenSockets)
        fails open_sockets_cost_no_wakeups: "the loop spins beside open sockets";
    leaks_a_descriptor_a_connection(LeaksADescriptorAConnection)
        fails what_was_opened_is_closed_at_the_end: "descriptors were left open";
    watches_a_stream_once(WatchesAStreamOnce)
        fails a_kept_connection_serves_request_after_request: "of a kept connection is neither answered";
    holds_back_what_it_has_read(HoldsBackWhatItHasRead)
        fails pipelined_requests_are_answered_in_order: "is neither answered";
    resets_at_the_close(ResetsAtTheClose)
        fails a_request_in_flight_is_answered_at_a_stop: "at the stop breaks";
    swaps_two_bytes(SwapsTwoBytes)
        fails an_answer_has_the_same_bytes_on_every_loop: "the answer has other bytes, the first at 35",
        a_stream_of_tcp_carries_every_byte_both_ways: "gets a wrong byte at 35";
}

#[test]
fn each_check_finds_a_broken_loop() {
    for check in checks() {
        assert!(PAIRS.iter().any(|(name, _)| *name == check.name), "no broken loop fails {}", check.name);
    }
}

#[test]
fn the_documentation_names_each_check_and_what_it_finds() {
    let page = include_str!("../../../../../docs/conformance.md");
    for (check, broken) in PAIRS {
        let row = format!("| `{check}` | {} |", broken.replace('_', " "));
        assert!(page.contains(&row), "docs/conformance.md lacks: {row}");
    }
}

#[test]
fn the_sound_loop_that_they_are_made_of_passes_all() {
    for check in checks() {
        println!("{}", check.name);
        (check.run)(&Subject::new(Faulty(Fault::Nothing)));
    }
}
