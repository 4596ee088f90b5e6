//! The built-in tasks on tokio.

use interloop_loop_tests::{ready_made, watchdog};
use interloop_tokio::Tokio;

#[test]
fn periodic_work_runs_by_the_clock_and_for_those_who_ask() {
    let _watchdog = watchdog();
    ready_made::periodic_runs_on::<Tokio>();
}

#[test]
fn a_poller_is_watched_from_every_loop() {
    let _watchdog = watchdog();
    ready_made::a_poller_is_watched_on::<Tokio>();
}

#[test]
fn a_folder_is_watched_and_followed_from_another_loop() {
    let _watchdog = watchdog();
    ready_made::a_folder_is_watched_on::<Tokio>();
}

#[test]
fn a_fake_clock_is_exact() {
    let _watchdog = watchdog();
    ready_made::a_day_has_24_hours_on::<Tokio>(&[]);
}

#[test]
fn a_fake_clock_is_exact_with_workers() {
    let _watchdog = watchdog();
    ready_made::a_day_has_24_hours_on::<Tokio>(&["--tokio-worker-threads", "2"]);
}
