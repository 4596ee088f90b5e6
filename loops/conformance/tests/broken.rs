//! Broken loops: for each there is a check that finds it, in its own words, within five seconds; and it passes most of the others.

use std::{
    any::Any,
    cell::OnceCell,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use interloop::{
    Error, EventLoop, Mailbox, NoOptions, Result, Timers, Turn,
    net::{Reactor, ReactorLoop},
};
use interloop_conformance::{Check, Subject, base_checks, net_checks};

/// Within which a check has found what is wrong.
const SOON: Duration = Duration::from_secs(5);

/// A thread that parks, with one thing wrong.
#[derive(Clone, Copy, Default)]
struct Broken<const FAULT: u8>;

/// Nothing: the loop that the others are made of.
const SOUND: u8 = 0;
const LOSES_THE_FIRST_WAKE: u8 = 1;
const LOSES_A_WAKE_NOW_AND_THEN: u8 = 2;
const NEVER_STOPS: u8 = 3;
const SPINS_WHEN_IDLE: u8 = 4;
const WAKES_BY_TIME: u8 = 5;
const FORGETS_FUTURES: u8 = 6;
const STARVES_EVENTS: u8 = 8;
const LOOKS_AT_SOCKETS_ONCE: u8 = 9;
const FORGETS_THE_RESTART: u8 = 10;
const LEAVES_A_THREAD: u8 = 11;
const LEAVES_A_DESCRIPTOR: u8 = 12;
const SLEEPS_TOO_SHORT: u8 = 13;
const FAILS_AT_THE_STOP: u8 = 14;
const ENDS_WHEN_IDLE: u8 = 15;
const NEVER_SAYS_STARTED: u8 = 16;
const RESTS_WITH_JOBS_LEFT: u8 = 17;

impl<const FAULT: u8> EventLoop for Broken<FAULT> {
    const NAME: &'static str = "broken";
    type Options = NoOptions;
    type Native = ();

    fn drive(self, _: NoOptions, mut mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        static DRIVEN: AtomicBool = AtomicBool::new(false);
        if DRIVEN.swap(true, Ordering::AcqRel) && FAULT == FORGETS_THE_RESTART {
            loop {
                thread::park();
            }
        }
        match FAULT {
            LEAVES_A_THREAD => drop(thread::spawn(|| {
                loop {
                    thread::park();
                }
            })),
            LEAVES_A_DESCRIPTOR => std::mem::forget(std::fs::File::open("/dev/null")?),
            FORGETS_FUTURES => mailbox.set_spawner(std::mem::forget),
            _ => {}
        }
        let (this, wakes) = (thread::current(), AtomicU32::new(0));
        let waker = this.clone();
        mailbox.set_notify(move || {
            let number = wakes.fetch_add(1, Ordering::AcqRel);
            if FAULT != LOSES_A_WAKE_NOW_AND_THEN || number % 4 != 3 {
                waker.unpark();
            }
        });
        let (made, rung) = (Rc::<OnceCell<Reactor>>::default(), Arc::new(AtomicBool::new(false)));
        let (make, ring) = (made.clone(), rung.clone());
        mailbox.set_reactor(move |reactor| {
            let _ = make.set(reactor.clone());
            reactor.ring_from_thread("broken-sockets", move || {
                ring.store(true, Ordering::Release);
                this.unpark();
            })
        });
        if FAULT != NEVER_SAYS_STARTED {
            started(&mailbox, ());
        }
        if FAULT == LOSES_THE_FIRST_WAKE {
            // The token of the wake that was due is gone.
            thread::park();
            thread::park();
        }
        let mut looks = 0;
        loop {
            if let Some(reactor) = made.get().filter(|_| rung.swap(false, Ordering::AcqRel)) {
                looks += 1;
                if FAULT != LOOKS_AT_SOCKETS_ONCE || looks <= 1 {
                    reactor.turn()?;
                }
            }
            let mut turn = mailbox.turn();
            while FAULT == STARVES_EVENTS && turn == Turn::Again {
                turn = mailbox.turn();
            }
            match turn {
                Turn::Stop if FAULT == NEVER_STOPS => thread::park(),
                Turn::Stop if FAULT == FAILS_AT_THE_STOP => return Err(Error::new("the brake is worn")),
                Turn::Stop => return Ok(()),
                Turn::Again if FAULT == RESTS_WITH_JOBS_LEFT => thread::park(),
                Turn::Again => {}
                Turn::Idle if FAULT == SPINS_WHEN_IDLE => {}
                Turn::Idle if FAULT == WAKES_BY_TIME => thread::park_timeout(Duration::from_millis(10)),
                Turn::Idle if FAULT == ENDS_WHEN_IDLE => return Ok(()),
                Turn::Idle => thread::park(),
            }
        }
    }
}

impl<const FAULT: u8> Timers for Broken<FAULT> {
    fn sleep((): &(), duration: Duration) -> impl Future<Output = ()> + 'static {
        let duration = if FAULT == SLEEPS_TOO_SHORT { duration / 2 } else { duration };
        Reactor::current().expect("the loop has a reactor").sleep(duration)
    }
}

impl<const FAULT: u8> ReactorLoop for Broken<FAULT> {}

/// Runs a check; what it says if it fails.
fn run<const FAULT: u8>(check: &Check<Broken<FAULT>>) -> std::result::Result<(), String> {
    let subject = Subject::new(Broken::<FAULT>).with_patience(Duration::from_secs(1));
    catch_unwind(AssertUnwindSafe(|| (check.run)(&subject))).map_err(said)
}

fn said(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&'static str>().map_or_else(|_| String::new(), |text| (*text).to_owned()),
    }
}

fn checks<const FAULT: u8>() -> Vec<Check<Broken<FAULT>>> {
    base_checks().into_iter().chain(net_checks()).collect()
}

/// The loop fails this check, with these words.
fn is_found<const FAULT: u8>(name: &str, words: &str) {
    let checks = checks::<FAULT>();
    let check = checks.iter().find(|check| check.name == name).expect("there is such a check");
    let begun = Instant::now();
    let said = run(check).expect_err("the broken loop passes");
    assert!(said.contains(words), "it fails with other words: {said}");
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
}

/// It is one thing that is wrong with the loop: it passes more than half of some quick checks.
fn passes_most<const FAULT: u8>() {
    const QUICK: [&str; 11] = [
        "it_starts_gets_ready_and_stops",
        "a_stop_from_before_the_start_is_heard",
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
    let checks = checks::<FAULT>();
    let quick = checks.iter().filter(|check| QUICK.contains(&check.name));
    let failed: Vec<_> = quick.filter_map(|check| run(check).err().map(|said| (check.name, said))).collect();
    assert!(failed.len() * 2 < QUICK.len(), "it fails {failed:#?}");
}

macro_rules! broken {
    ($($loop:ident($fault:ident) fails $check:ident: $words:literal $($most:ident)?;)+) => {
        $(mod $loop {
            use super::*;

            #[test]
            fn is_found() {
                super::is_found::<$fault>(stringify!($check), $words);
            }

            $(#[test]
            fn $most() {
                super::$most::<$fault>();
            })?
        })+

        /// The table in the documentation names the pairs.
        #[test]
        fn the_documentation_names_each_broken_loop_and_its_check() {
            let page = include_str!("../../../docs/conformance.md");
            for (name, check) in [$((stringify!($loop), stringify!($check))),+] {
                let row = format!("| {} | `{check}` |", name.replace('_', " "));
                assert!(page.contains(&row), "docs/conformance.md lacks: {row}");
            }
        }
    };
}

broken! {
    loses_the_first_wake(LOSES_THE_FIRST_WAKE) fails what_was_sent_before_the_loop_ran_is_done: "was not done";
    loses_a_wake_now_and_then(LOSES_A_WAKE_NOW_AND_THEN) fails twenty_restarts_leave_no_thread_and_no_descriptor: "it did not come to that";
    never_stops(NEVER_STOPS) fails a_stop_wakes_a_sleeping_loop: "the service does not stop in order";
    spins_when_idle(SPINS_WHEN_IDLE) fails idle_means_idle: "an idle loop spins" passes_most;
    wakes_by_time(WAKES_BY_TIME) fails idle_means_idle: "an idle loop wakes up" passes_most;
    forgets_futures(FORGETS_FUTURES) fails a_reply_that_is_dropped_lets_the_job_run: "what nobody awaits did not run";
    starves_events(STARVES_EVENTS) fails a_flood_of_posts_starves_no_timer: "starves the loop's timers" passes_most;
    looks_at_sockets_once(LOOKS_AT_SOCKETS_ONCE) fails who_stops_sending_still_receives: "the loop does not end";
    forgets_the_restart(FORGETS_THE_RESTART)
        fails twenty_starts_leave_no_thread_and_no_descriptor: "the service does not start";
    leaves_a_thread(LEAVES_A_THREAD)
        fails twenty_starts_leave_no_thread_and_no_descriptor: "threads, or descriptors, were left behind" passes_most;
    leaves_a_descriptor(LEAVES_A_DESCRIPTOR)
        fails what_was_opened_is_closed_at_the_end: "descriptors were left open" passes_most;
    sleeps_too_short(SLEEPS_TOO_SHORT) fails a_timer_wakes_a_loop_at_rest: "the check failed" passes_most;
    fails_at_the_stop(FAILS_AT_THE_STOP) fails a_stop_wakes_a_sleeping_loop: "the service does not stop in order";
    ends_when_idle(ENDS_WHEN_IDLE) fails it_starts_gets_ready_and_stops: "it ended without being told to";
    never_says_started(NEVER_SAYS_STARTED) fails it_starts_gets_ready_and_stops: "the service does not start";
    rests_with_jobs_left(RESTS_WITH_JOBS_LEFT)
        fails posts_of_eight_senders_all_run_each_senders_in_order: "posts got lost, or out of order" passes_most;
}

#[test]
fn the_sound_loop_that_they_are_made_of_passes_all() {
    for check in checks::<SOUND>() {
        let subject = Subject::new(Broken::<SOUND>);
        println!("{}", check.name);
        (check.run)(&subject);
    }
}
