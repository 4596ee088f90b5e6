//! Broken loops: for each check there is one that the check finds, in its own words, within five seconds; and that
//! passes most of the others.

mod elsewhere;
mod executor;
mod faults;
mod parked;

use std::time::Duration;

use interloop::Thread;
use interloop_conformance::{Subject, base_checks, native_checks, net_checks, partner_checks, watch_fd_checks};

use self::{
    faults::Fault,
    parked::{Broken, set_native_timer},
};
use crate::finding;

type Run = Box<dyn Fn(&Subject<Broken>)>;

/// Returns all checks, with the reference loop as the partner.
fn checks() -> Vec<(&'static str, Run)> {
    let own = base_checks().into_iter().chain(native_checks()).chain(net_checks()).chain(watch_fd_checks());
    let own = own.map(|check| (check.name, Box::new(check.run) as Run));
    let partners = partner_checks::<_, Thread>().into_iter();
    let partners = partners.map(|check| {
        let run: Run = Box::new(move |subject| (check.run)(subject, &Subject::new(Thread)));
        (check.name, run)
    });
    own.chain(partners).collect()
}

fn subject(fault: Fault) -> Subject<Broken> {
    Subject::new(Broken(fault)).with_native_timer(set_native_timer)
}

/// Runs a check; returns its message if it fails.
fn run(fault: Fault, check: &Run) -> Result<(), String> {
    finding::run(|| check(&subject(fault).with_patience(Duration::from_secs(1))))
}

/// Checks that the loop fails this check, with these words.
fn is_found(fault: Fault, name: &str, words: &str) {
    let checks = checks();
    let (_, check) = checks.iter().find(|(known, _)| *known == name).expect("there is such a check");
    finding::is_found(words, || run(fault, check));
}

/// Checks that only one thing is wrong with the loop: it passes more than half of some quick checks.
fn passes_most(fault: Fault) {
    const QUICK: [&str; 11] = [
        "it_starts_gets_ready_and_stops",
        "a_stop_from_before_the_first_turn_is_heard",
        "a_stop_from_the_loop_itself_and_another_are_one",
        "what_was_sent_before_the_loop_ran_is_done",
        "a_panic_in_a_job_comes_back_and_the_loop_lives",
        "a_panic_in_a_child_fails_its_task",
        "a_blocking_wait_on_the_loop_is_refused",
        "a_sleep_is_never_early",
        "what_is_not_send_is_dropped_on_its_thread_at_a_panic",
        "where_nobody_listens_a_connect_is_refused",
        "urgent_data_is_told",
    ];
    let checks = checks();
    let quick: Vec<_> = checks.iter().filter(|(name, _)| QUICK.contains(name)).collect();
    assert_eq!(quick.len(), QUICK.len());
    finding::passes_most(quick.into_iter().map(|(name, check)| (name, run(fault, check))));
}

macro_rules! broken {
    ($($loop:ident($fault:ident) $($most:ident)?: $($check:ident says $words:literal),+;)+) => {
        $(mod $loop {
            use super::*;

            $(#[test]
            fn $check() {
                is_found(Fault::$fault, stringify!($check), $words);
            })+

            $(#[test]
            fn $most() {
                super::$most(Fault::$fault);
            })?
        })+

        /// The loops, and the checks that they fail.
        const FOUND: &[(&str, &str)] = &[$($((stringify!($loop), stringify!($check))),+),+];
    };
}

broken! {
    never_says_started(NeverSaysStarted):
        it_starts_gets_ready_and_stops says "the service does not start";
    ends_when_idle(EndsWhenIdle):
        it_starts_gets_ready_and_stops says "it ended without being told to";
    forgets_the_restart(ForgetsTheRestart):
        starts_leave_no_thread_no_descriptor_and_no_memory says "the service does not start";
    never_stops(NeverStops):
        a_stop_during_the_start_is_heard says "a stop during the start got lost",
        a_stop_wakes_a_sleeping_loop says "a stop does not end a sleeping loop in order";
    fails_at_the_stop(FailsAtTheStop):
        a_stop_from_the_loop_itself_and_another_are_one says "a stop from the loop itself is not one";
    hangs_when_left_behind(HangsWhenLeftBehind) passes_most:
        a_loop_that_blocks_is_left_behind_in_time says "the thread that was left behind never ends";
    leaves_without_a_last_turn(LeavesWithoutALastTurn) passes_most:
        posts_that_race_with_the_stop_run_or_come_back says "accepted posts did not run";
    waits_before_its_first_look(WaitsBeforeItsFirstLook) passes_most:
        a_stop_from_before_the_first_turn_is_heard says "a stop from before the loop's first turn got lost";
    loses_the_first_wake(LosesTheFirstWake):
        what_was_sent_before_the_loop_ran_is_done says "what was sent before the loop ran was not done";
    loses_a_wake_now_and_then(LosesAWakeNowAndThen):
        posts_calls_and_futures_come_from_other_threads says "a call from another thread is not answered";
    deaf_to_itself(DeafToItself):
        a_call_from_the_loop_to_itself_is_answered says "a call from the loop to itself is not answered";
    spins_when_idle(SpinsWhenIdle) passes_most:
        idle_means_idle says "an idle loop spins",
        it_starts_gets_ready_and_stops says "the loop does not come to rest",
        a_stop_wakes_a_sleeping_loop says "the loop does not come to rest",
        a_signal_interrupts_no_loop_and_stops_it says "the loop does not come to rest",
        posts_calls_and_futures_come_from_other_threads says "the loop does not come to rest",
        calls_posts_and_futures_come_from_another_loop says "the loop does not come to rest",
        a_reply_is_awaited_on_another_loop says "the loop does not come to rest",
        a_call_there_and_back_is_answered says "the loop does not come to rest",
        what_another_loop_asks_and_does_not_await_is_done says "the loop does not come to rest",
        what_another_loop_cancels_ends says "the loop does not come to rest",
        a_future_is_woken_from_another_loop says "the loop does not come to rest";
    wakes_by_time(WakesByTime) passes_most:
        idle_means_idle says "an idle loop wakes up";
    dies_of_a_signal(DiesOfASignal) passes_most:
        a_signal_interrupts_no_loop_and_stops_it says "a signal does not stop the loop in order";
    dies_of_a_panic(DiesOfAPanic) passes_most:
        a_panic_in_a_job_comes_back_and_the_loop_lives says "does not come back",
        a_panic_in_a_task_fails_it_and_the_loop_lives says "a panic",
        a_panic_in_a_child_fails_its_task says "a panic";
    driven_on_another_thread(DrivenOnAnotherThread) passes_most:
        a_blocking_wait_on_the_loop_is_refused says "a blocking wait of the loop for itself is not refused";
    starves_events(StarvesEvents) passes_most:
        a_flood_of_posts_starves_no_timer says "a flood of posts starves the loop's timers",
        a_flood_of_posts_starves_no_native_timer says "a flood of posts starves the loop's own timers";
    rests_with_jobs_left(RestsWithJobsLeft) passes_most:
        posts_of_eight_senders_all_run_each_senders_in_order says "posts got lost, or out of order",
        a_full_mailbox_gives_back says "a mailbox that was full takes no more";
    forgets_every_second_future(ForgetsEverySecondFuture):
        every_reply_resolves says "the Reply of a future that the stop cancels is not told so",
        a_reply_that_is_dropped_lets_the_job_run says "what nobody awaits did not run",
        ten_thousand_futures_are_spawned_and_woken says "some are never polled",
        a_remote_survives_the_restart_of_its_task says "a Remote does not reach the next incarnation";
    stops_waking(StopsWaking):
        what_is_cancelled_ends_there_and_a_queued_job_never_runs
            says "a future that was cancelled is not dropped on its loop";
    polls_once_a_wake(PollsOnceAWake) passes_most:
        a_storm_of_wakes_is_one says "wakes of a loop that is held end in";
    polls_on_other_threads(PollsOnOtherThreads):
        what_is_not_send_is_dropped_on_its_thread_at_a_stop says "dropped on another thread than its own",
        what_is_not_send_is_dropped_on_its_thread_at_a_cancel says "dropped on another thread than its own",
        what_is_not_send_is_dropped_on_its_thread_at_a_hard_stop says "dropped on another thread than its own",
        what_is_not_send_is_dropped_on_its_thread_at_a_panic says "dropped on another thread than its own",
        what_is_not_send_is_dropped_on_its_thread_at_a_panic_in_a_drop says "dropped on another thread than its own",
        what_is_not_send_is_dropped_on_its_thread_at_a_restart says "dropped on another thread than its own";
    sleeps_too_short(SleepsTooShort) passes_most:
        a_sleep_is_never_early says "was early",
        a_timer_wakes_a_loop_at_rest says "the check failed";
    sleeps_too_long(SleepsTooLong) passes_most:
        timers_fire_on_time_and_in_order says "a timer is late each time";
    sleeps_out_of_order(SleepsOutOfOrder) passes_most:
        timers_fire_on_time_and_in_order says "timers fire in another order than that of their times";
    native_timers_never_fire(NativeTimersNeverFire) passes_most:
        a_native_timer_fires says "the loop's own timer does not fire";
    leaves_a_thread(LeavesAThread) passes_most:
        starts_leave_no_thread_no_descriptor_and_no_memory says "threads are left behind",
        restarts_leave_no_thread_no_descriptor_and_no_memory says "threads are left behind";
    leaves_a_descriptor(LeavesADescriptor) passes_most:
        starts_leave_no_thread_no_descriptor_and_no_memory says "descriptors are left behind",
        restarts_leave_no_thread_no_descriptor_and_no_memory says "descriptors are left behind",
        what_was_opened_is_closed_at_the_end says "descriptors were left open";
    leaves_memory(LeavesMemory) passes_most:
        starts_leave_no_thread_no_descriptor_and_no_memory says "memory is left behind",
        restarts_leave_no_thread_no_descriptor_and_no_memory says "memory is left behind";
    looks_at_sockets_once(LooksAtSocketsOnce):
        who_stops_sending_still_receives says "the loop does not end";
    deaf_to_other_loops(DeafToOtherLoops) passes_most:
        calls_posts_and_futures_come_from_another_loop says "calls from another loop are not answered",
        a_reply_is_awaited_on_another_loop says "a Reply that another loop awaits does not come",
        a_call_there_and_back_is_answered says "a call there and back is not answered",
        what_another_loop_asks_and_does_not_await_is_done says "what another loop asks and does not await is not done",
        what_another_loop_cancels_ends says "a future that another loop cancelled is not dropped",
        a_future_is_woken_from_another_loop says "a future that another loop wakes does not go on";
}

/// Checks this also with the patience that sound loops are given: nothing waits for the watchdog, which would destroy
/// the results of all other checks.
#[test]
fn a_check_of_a_loop_that_is_never_at_rest_ends_by_itself() {
    let checks = checks();
    for name in ["it_starts_gets_ready_and_stops", "posts_calls_and_futures_come_from_other_threads"] {
        let (_, check) = checks.iter().find(|(known, _)| *known == name).expect("there is such a check");
        let subject = subject(Fault::SpinsWhenIdle);
        finding::is_found("the loop does not come to rest", || finding::run(|| check(&subject)));
    }
    let (_, other) =
        checks.iter().find(|(name, _)| *name == "a_call_from_the_loop_to_itself_is_answered").expect("known");
    assert_eq!(finding::run(|| other(&subject(Fault::SpinsWhenIdle))), Ok(()));
}

const PAGE: &str = include_str!("../../../../../docs/conformance.md");

#[test]
fn the_documentation_names_each_broken_loop_and_its_check() {
    for (name, check) in FOUND {
        let row = format!("| {} | `{check}` |", name.replace('_', " "));
        assert!(PAGE.contains(&row), "docs/conformance.md lacks: {row}");
    }
}

#[test]
fn each_check_has_a_broken_loop_that_it_finds() {
    let own = base_checks::<Broken>().into_iter().chain(native_checks()).map(|check| check.name);
    let names = own.chain(partner_checks::<Broken, Thread>().into_iter().map(|check| check.name));
    for name in names {
        assert!(FOUND.iter().any(|(_, check)| *check == name), "no broken loop fails {name}");
    }
}

#[test]
fn the_sound_loop_that_they_are_made_of_passes_all() {
    for (name, check) in checks() {
        println!("{name}");
        check(&subject(Fault::Sound));
    }
}
