//! The built-in tasks on glib.

use interloop_glib::Glib;
use interloop_loop_tests::{ready_made, watchdog};
use interloop_own_process::own_process;

#[test]
fn periodic_work_runs_by_the_clock_and_for_those_who_ask() {
    own_process(|| {
        let _watchdog = watchdog();
        ready_made::periodic_runs_on::<Glib>();
    });
}

#[test]
fn a_poller_is_watched_from_every_loop() {
    own_process(|| {
        let _watchdog = watchdog();
        ready_made::a_poller_is_watched_on::<Glib>();
    });
}

#[test]
fn a_folder_is_watched_and_followed_from_another_loop() {
    own_process(|| {
        let _watchdog = watchdog();
        ready_made::a_folder_is_watched_on::<Glib>();
    });
}

#[test]
fn a_fake_clock_is_exact() {
    own_process(|| {
        let _watchdog = watchdog();
        ready_made::a_day_has_24_hours_on::<Glib>(&[]);
    });
}
