//! Proves an event loop of Interloop right: checks that every loop has to pass, those of this project and yours.
//!
//! ```ignore
//! // tests/conformance.rs
//! interloop_conformance::base!(MyLoop::default());   // start, stop, calls, drops, restarts, rest
//! interloop_conformance::net!(MyLoop::default());    // sockets, if the loop has them
//! ```
//!
//! makes one `#[test]` of each check. Options are set behind the plan: `base!(Tokio::default(), "worker-threads" = 2)`. A check is a function of a
//! [`Subject`]; it panics with a message of its own when the loop fails it, and has a watchdog, so that it ends in any case. Loopback only.

#![forbid(unsafe_code)]

pub mod base;
pub mod net;
mod scene;

pub use crate::scene::{Subject, is_full_size, on_loop};

/// Hands the names of the checks in [`base`] to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! with_base {
    ([$($macro:tt)*] $($arguments:tt)*) => {
        $($macro)* ! { base; $($arguments)*;
            it_starts_gets_ready_and_stops,
            a_stop_from_before_the_start_is_heard,
            a_stop_during_the_start_is_heard,
            a_stop_from_the_loop_itself_and_another_are_one,
            a_stop_wakes_a_sleeping_loop,
            what_was_sent_before_the_loop_ran_is_done,
            posts_calls_and_futures_come_from_other_threads,
            a_call_from_the_loop_to_itself_is_answered,
            a_call_there_and_back_is_answered,
            posts_of_eight_senders_all_run_each_senders_in_order,
            posts_that_race_with_the_stop_run_or_come_back,
            a_full_mailbox_gives_back,
            a_panic_in_a_job_comes_back_and_the_loop_lives,
            a_panic_in_a_child_fails_its_task,
            a_reply_that_is_dropped_lets_the_job_run,
            a_blocking_wait_on_the_loop_is_refused,
            ten_thousand_futures_are_spawned_and_woken,
            a_sleep_is_never_early,
            what_is_not_send_is_dropped_on_its_thread_at_a_stop,
            what_is_not_send_is_dropped_on_its_thread_at_a_cancel,
            what_is_not_send_is_dropped_on_its_thread_at_a_panic,
            what_is_not_send_is_dropped_on_its_thread_at_a_restart,
            a_remote_survives_the_restart_of_its_task,
            a_flood_of_posts_starves_no_timer,
            a_loop_that_blocks_is_left_behind_in_time,
            idle_means_idle,
            twenty_starts_leave_no_thread_and_no_descriptor,
            twenty_restarts_leave_no_thread_and_no_descriptor,
        }
    };
}

/// Hands the names of the checks in [`net`] to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! with_net {
    ([$($macro:tt)*] $($arguments:tt)*) => {
        $($macro)* ! { net; $($arguments)*;
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
            a_flood_of_posts_starves_no_socket,
            open_sockets_cost_no_wakeups,
            what_was_opened_is_closed_at_the_end,
        }
    };
}

/// Makes a test of each check of a loop with [`Timers`](interloop::Timers): `base!(MyLoop::default(), "option" = value);`
#[macro_export]
macro_rules! base {
    ($plan:expr $(, $option:literal = $value:expr)* $(,)?) => {
        $crate::with_base! { [$crate::tests] $crate::Subject::new($plan)$(.set($option, $value))* }
    };
}

/// Makes a test of each check of a loop with [`Net`](interloop::net::Net): `net!(MyLoop::default(), "option" = value);`
#[macro_export]
macro_rules! net {
    ($plan:expr $(, $option:literal = $value:expr)* $(,)?) => {
        $crate::with_net! { [$crate::tests] $crate::Subject::new($plan)$(.set($option, $value))* }
    };
}

/// Makes a test of each of these checks.
#[doc(hidden)]
#[macro_export]
macro_rules! tests {
    ($module:ident; $subject:expr; $($check:ident,)+) => {
        $(#[test]
        fn $check() {
            $crate::$module::$check(&$subject);
        })+
    };
}

/// A check of a loop.
#[derive(Clone, Copy, Debug)]
pub struct Check<L> {
    /// Its name: a sentence, with underscores.
    pub name: &'static str,
    /// Panics when the loop fails it.
    pub run: fn(&Subject<L>),
}

macro_rules! list {
    ($module:ident; ; $($check:ident,)+) => {
        vec![$(Check { name: stringify!($check), run: $module::$check::<L> }),+]
    };
}

/// The checks that [`base!`] makes tests of.
pub fn base_checks<L: interloop::Timers>() -> Vec<Check<L>> {
    with_base!([list])
}

/// The checks that [`net!`] makes tests of.
pub fn net_checks<L: interloop::net::Net>() -> Vec<Check<L>> {
    with_net!([list])
}
