//! Proves an event loop of Interloop right: checks that every loop has to pass, those of this project and yours.
//!
//! ```ignore
//! interloop_conformance::net!(MyLoop::default());
//! ```
//!
//! makes one `#[test]` of each check. A check is a function of a plan for the loop; it panics with a message of its own when the loop fails it, and has a
//! watchdog, so that it ends in any case. Loopback only.

#![forbid(unsafe_code)]

pub mod net;
mod scene;

pub use crate::scene::{is_full_size, on_loop};

/// Makes a test of each check of a loop with [`Net`](interloop::net::Net): `net!(MyLoop::default());`
#[macro_export]
macro_rules! net {
    ($plan:expr) => {
        $crate::checks!(net, $plan;
            a_stream_of_tcp_carries_every_byte_both_ways,
            a_unix_stream_carries_every_byte_both_ways,
            who_stops_sending_still_receives,
            a_reset_by_the_peer_is_an_error_and_not_an_end,
            a_thousand_connections_at_once_are_all_served,
            where_nobody_listens_a_connect_is_refused,
            an_accept_that_is_dropped_loses_no_connection,
            four_hundred_sockets_ready_at_once_are_all_seen,
            a_reader_is_told_of_the_end_that_came_with_the_last_bytes,
            a_watched_pipe_says_when_it_can_be_read_and_written,
            urgent_data_is_told,
            a_timer_wakes_a_loop_at_rest,
            timers_run_beside_sockets,
            open_sockets_cost_no_wakeups,
            what_was_opened_is_closed_at_the_end,
        );
    };
}

/// Makes a test of each of these checks.
#[doc(hidden)]
#[macro_export]
macro_rules! checks {
    ($module:ident, $plan:expr; $($check:ident),+ $(,)?) => {
        $(#[test]
        fn $check() {
            $crate::$module::$check($plan);
        })+
    };
}
