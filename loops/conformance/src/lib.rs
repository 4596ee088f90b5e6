//! Checks that every event loop of Interloop must pass: those of this project and yours.
//!
//! ```ignore
//! // tests/conformance.rs
//! interloop_conformance::conformance!(MyLoop::default());
//! interloop_conformance::http!(MyLoop::default());   // HTTP on its sockets; with the feature `http`
//! ```
//!
//! makes one `#[test]` of each check: start, stop, calls, drops, timers, restarts, rest, and sockets. [`base!`] is for
//! a loop without sockets, [`net!`] for the sockets alone; [`partners!`] has two loops use each other. Options follow
//! the plan, and then the loop's own timer:
//!
//! ```ignore
//! conformance!(Tokio::default(), "worker-threads" = 2, native_timer: |_, time, fire| drop(tokio::task::spawn_local(async move {
//!     tokio::time::sleep(time).await;
//!     fire();
//! })));
//! ```
//!
//! A loop that wakes by nature, such as one that draws 60 frames a second, says so last. Checks of rest then allow the
//! loop its beat, and a further check ensures that calls don't wait for the beat:
//!
//! ```ignore
//! conformance!(Game::default(), beat: Duration::from_secs(1) / 60);
//! ```
//!
//! A check is a function of a [`Subject`]. It panics with a message of its own if the loop fails it, and has a
//! watchdog, so that it ends in any case. [`check_all`] runs all checks and returns a [`Table`] of the results. The
//! checks use loopback only, and need Linux.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod base;
pub mod beat;
#[cfg(feature = "http")]
pub mod http;
pub mod native;
pub mod net;
pub mod partners;
mod process;
mod scene;
mod table;
mod trial;

use interloop::EventLoop;

pub use crate::{
    scene::{Fire, Subject, is_full_size, on_loop},
    table::{Row, Table, check_all, check_base, check_partners},
};

/// Hands the names of the checks in [`base`] to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! with_base {
    ([$($macro:tt)*] $($arguments:tt)*) => {
        $($macro)* ! { base; $($arguments)*;
            it_starts_gets_ready_and_stops,
            a_stop_from_before_the_first_turn_is_heard,
            a_stop_during_the_start_is_heard,
            a_stop_from_the_loop_itself_and_another_are_one,
            a_stop_wakes_a_sleeping_loop,
            a_signal_interrupts_no_loop_and_stops_it,
            a_loop_that_blocks_is_left_behind_in_time,
            every_reply_resolves,
            what_was_sent_before_the_loop_ran_is_done,
            posts_calls_and_futures_come_from_other_threads,
            a_call_from_the_loop_to_itself_is_answered,
            a_blocking_wait_on_the_loop_is_refused,
            a_reply_that_is_dropped_lets_the_job_run,
            what_is_cancelled_ends_there_and_a_queued_job_never_runs,
            ten_thousand_futures_are_spawned_and_woken,
            posts_of_eight_senders_all_run_each_senders_in_order,
            posts_that_race_with_the_stop_run_or_come_back,
            a_full_mailbox_gives_back,
            a_panic_in_a_job_comes_back_and_the_loop_lives,
            a_panic_in_a_task_fails_it_and_the_loop_lives,
            a_panic_in_a_child_fails_its_task,
            a_storm_of_wakes_is_one,
            idle_means_idle,
            a_sleep_is_never_early,
            timers_fire_on_time_and_in_order,
            a_flood_of_posts_starves_no_timer,
            what_is_not_send_is_dropped_on_its_thread_at_a_stop,
            what_is_not_send_is_dropped_on_its_thread_at_a_cancel,
            what_is_not_send_is_dropped_on_its_thread_at_a_hard_stop,
            what_is_not_send_is_dropped_on_its_thread_at_a_panic,
            what_is_not_send_is_dropped_on_its_thread_at_a_panic_in_a_drop,
            what_is_not_send_is_dropped_on_its_thread_at_a_restart,
            a_remote_survives_the_restart_of_its_task,
            starts_leave_no_thread_no_descriptor_and_no_memory,
            restarts_leave_no_thread_no_descriptor_and_no_memory,
        }
    };
}

/// Hands the names of the checks in [`native`] to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! with_native {
    ([$($macro:tt)*] $($arguments:tt)*) => {
        $($macro)* ! { native; $($arguments)*;
            a_native_timer_fires,
            a_flood_of_posts_starves_no_native_timer,
        }
    };
}

/// Hands the names of the checks in [`beat`] to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! with_beat {
    ([$($macro:tt)*] $($arguments:tt)*) => {
        $($macro)* ! { beat; $($arguments)*;
            a_call_does_not_wait_for_the_beat,
        }
    };
}

/// Hands the names of the checks in [`partners`] to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! with_partners {
    ([$($macro:tt)*] $($arguments:tt)*) => {
        $($macro)* ! { partners; $($arguments)*;
            calls_posts_and_futures_come_from_another_loop,
            a_reply_is_awaited_on_another_loop,
            a_call_there_and_back_is_answered,
            what_another_loop_asks_and_does_not_await_is_done,
            what_another_loop_cancels_ends,
            a_future_is_woken_from_another_loop,
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
            a_timer_wakes_a_loop_at_rest,
            timers_run_beside_sockets,
            a_flood_of_posts_starves_no_socket,
            open_sockets_cost_no_wakeups,
            what_was_opened_is_closed_at_the_end,
        }
    };
}

/// Hands the names of the checks in [`net`] to a macro that are about watched descriptors.
#[doc(hidden)]
#[macro_export]
macro_rules! with_watch_fd {
    ([$($macro:tt)*] $($arguments:tt)*) => {
        $($macro)* ! { net; $($arguments)*;
            a_watched_pipe_says_when_it_can_be_read_and_written,
            urgent_data_is_told,
            the_ends_of_connections_that_nobody_reads_are_told,
        }
    };
}

/// Hands the names of the checks in [`http`] to a macro.
#[cfg(feature = "http")]
#[doc(hidden)]
#[macro_export]
macro_rules! with_http {
    ([$($macro:tt)*] $($arguments:tt)*) => {
        $($macro)* ! { http; $($arguments)*;
            a_kept_connection_serves_request_after_request,
            pipelined_requests_are_answered_in_order,
            a_chunked_body_comes_and_goes_whole,
            streams_of_http2_share_a_connection,
            a_request_in_flight_is_answered_at_a_stop,
            an_answer_has_the_same_bytes_on_every_loop,
        }
    };
}

/// Makes a test of each check of a loop with [`Net`](interloop::net::Net) and [`WatchFd`](interloop::net::WatchFd):
/// `conformance!(MyLoop::default(), "option" = value);`
///
/// With `native_timer: |native, time, fire| ..` after these, it adds the checks of the loop's [own
/// timer](Subject::with_native_timer); with `beat: period` last, those of a loop that [wakes by
/// nature](Subject::with_beat).
#[macro_export]
macro_rules! conformance {
    ($plan:expr $(, $option:literal = $value:expr)* $(, native_timer: $timer:expr)? $(, beat: $beat:expr)? $(,)?) => {
        $crate::base! { $plan $(, $option = $value)* $(, native_timer: $timer)? $(, beat: $beat)? }
        $crate::net! { $plan $(, $option = $value)* $(, beat: $beat)? }
    };
}

/// Makes a test of each check of a loop with [`Timers`](interloop::event_loop::Timers), and without sockets. Otherwise
/// it works like [`conformance!`].
#[macro_export]
macro_rules! base {
    ($plan:expr $(, $option:literal = $value:expr)* $(, native_timer: $timer:expr)? $(, beat: $beat:expr)? $(,)?) => {
        $crate::with_base! { [$crate::tests] $crate::Subject::new($plan)$(.set($option, $value))*$(.with_beat($beat))? }
        $crate::native_tests! {
            [$crate::Subject::new($plan)$(.set($option, $value))*$(.with_beat($beat))?] $($timer)?
        }
        $crate::beat_tests! { [$crate::Subject::new($plan)$(.set($option, $value))*] $($beat)? }
    };
}

/// Makes a test of each check of a loop's sockets, and of the descriptors that the loop watches:
/// `net!(MyLoop::default(), "option" = value);`
///
/// For a loop that has only [`Net`](interloop::net::Net), use [`net_checks`].
#[macro_export]
macro_rules! net {
    ($plan:expr $(, $option:literal = $value:expr)* $(, beat: $beat:expr)? $(,)?) => {
        $crate::with_net! { [$crate::tests] $crate::Subject::new($plan)$(.set($option, $value))*$(.with_beat($beat))? }
        $crate::with_watch_fd! { [$crate::tests] $crate::Subject::new($plan)$(.set($option, $value))*$(.with_beat($beat))? }
    };
}

/// Makes a test of each check of HTTP on a loop with [`Net`](interloop::net::Net):
/// `http!(MyLoop::default(), "option" = value);`
#[cfg(feature = "http")]
#[macro_export]
macro_rules! http {
    ($plan:expr $(, $option:literal = $value:expr)* $(,)?) => {
        $crate::with_http! { [$crate::tests] $crate::Subject::new($plan)$(.set($option, $value))* }
    };
}

/// Makes a test of each check of two loops that use each other: `partners!(MyLoop::default(), Other::default());`
///
/// The loops need nothing else.
#[macro_export]
macro_rules! partners {
    ($here:expr, $there:expr $(,)?) => {
        $crate::with_partners! { [$crate::tests] $crate::Subject::new($here), $crate::Subject::new($there) }
    };
}

/// Makes a test of each check of the loop's own timer, if it is given.
#[doc(hidden)]
#[macro_export]
macro_rules! native_tests {
    ([$($subject:tt)*]) => {};
    ([$($subject:tt)*] $timer:expr) => {
        $crate::with_native! { [$crate::tests] $($subject)*.with_native_timer($timer) }
    };
}

/// Makes a test of each check of a loop's beat, if it has one.
#[doc(hidden)]
#[macro_export]
macro_rules! beat_tests {
    ([$($subject:tt)*]) => {};
    ([$($subject:tt)*] $beat:expr) => {
        $crate::with_beat! { [$crate::tests] $($subject)*.with_beat($beat) }
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
    ($module:ident; $here:expr, $there:expr; $($check:ident,)+) => {
        $(#[test]
        fn $check() {
            $crate::$module::$check(&$here, &$there);
        })+
    };
}

/// A check of a loop.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Check<L: EventLoop> {
    /// The name of the check: a sentence, with underscores.
    pub name: &'static str,
    /// The check, which panics if the loop fails it.
    pub run: fn(&Subject<L>),
}

/// A check of two loops.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PartnerCheck<L: EventLoop, M: EventLoop> {
    /// The name of the check: a sentence, with underscores.
    pub name: &'static str,
    /// The check, which panics if one of the loops fails it.
    pub run: fn(&Subject<L>, &Subject<M>),
}

macro_rules! list {
    ($module:ident; ; $($check:ident,)+) => {
        vec![$(Check { name: stringify!($check), run: $module::$check::<L> }),+]
    };
}

macro_rules! list_partners {
    ($module:ident; ; $($check:ident,)+) => {
        vec![$(PartnerCheck { name: stringify!($check), run: $module::$check::<L, M> }),+]
    };
}

/// Returns the checks that [`base!`] makes tests of.
pub fn base_checks<L: interloop::event_loop::Timers>() -> Vec<Check<L>> {
    with_base!([list])
}

/// Returns the checks of a loop's [own timer](Subject::with_native_timer).
pub fn native_checks<L: EventLoop>() -> Vec<Check<L>> {
    with_native!([list])
}

/// Returns the checks of a loop that [wakes by nature](Subject::with_beat).
pub fn beat_checks<L: EventLoop>() -> Vec<Check<L>> {
    with_beat!([list])
}

/// Returns the checks of sockets that [`net!`] makes tests of.
pub fn net_checks<L: interloop::net::Net>() -> Vec<Check<L>> {
    with_net!([list])
}

/// Returns the checks of watched descriptors that [`net!`] makes tests of.
pub fn watch_fd_checks<L: interloop::net::WatchFd>() -> Vec<Check<L>> {
    with_watch_fd!([list])
}

/// Returns the checks that [`partners!`] makes tests of.
pub fn partner_checks<L: EventLoop, M: EventLoop>() -> Vec<PartnerCheck<L, M>> {
    with_partners!([list_partners])
}

/// Returns the checks that [`http!`] makes tests of.
#[cfg(feature = "http")]
pub fn http_checks<L: interloop::net::Net>() -> Vec<Check<L>> {
    with_http!([list])
}
