//! The ready-made tasks on glib.

#[path = "../../tokio/tests/util/ready_made.rs"]
mod ready_made;
#[path = "../../tokio/tests/util/mod.rs"]
mod util;

use interloop_glib::Glib;
use util::watchdog;

#[test]
fn periodic_work_runs_by_the_clock_and_for_those_who_ask() {
    let _watchdog = watchdog();
    ready_made::periodic_runs_on::<Glib>();
}

#[test]
fn a_poller_is_watched_from_every_loop() {
    let _watchdog = watchdog();
    ready_made::a_poller_is_watched_on::<Glib>();
}

#[test]
fn a_folder_is_watched_and_followed_from_another_loop() {
    let _watchdog = watchdog();
    ready_made::a_folder_is_watched_on::<Glib>();
}

#[test]
fn a_fake_clock_is_exact() {
    let _watchdog = watchdog();
    ready_made::a_day_has_24_hours_on::<Glib>(&[]);
}
