//! A loop that is blocked while the service runs is reported, once, and shown.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use interloop::{
    EventLoop, NoOptions, Running, Service, Thread,
    event_loop::{Mailbox, Turn},
    service::LoopStatus,
    task_fn,
};

use crate::util::{Latch, Mortal, SOON, alone, quiet_resident, soon, up, warned, warnings, watched};

/// A time for which the loop is blocked.
#[derive(Clone, Default)]
struct Episode {
    begins: Latch,
    begun: Latch,
    ends: Latch,
}

/// A service with a task on loop `io` that blocks it in these episodes.
fn service<L: EventLoop>(plan: L, episodes: &[Episode]) -> Service {
    let mut service = Service::new("test");
    service.event_loop("io", plan);
    let (slot, _) = service.slot::<Cell<u8>>("number");
    let episodes = episodes.to_vec();
    let blocker = task_fn::<L>(async move |cx| {
        cx.fill(slot, Cell::new(7));
        cx.ready();
        for episode in episodes {
            episode.begins.opened().await;
            episode.begun.open();
            episode.ends.wait_for_ever();
        }
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("blocker", blocker).on("io");
    service.task("aside", quiet_resident::<Thread>());
    service
}

fn io(running: &Running) -> LoopStatus {
    running.status().loops.into_iter().find(|l| l.name == "io").expect("it is there")
}

#[test]
fn a_call_that_waits_for_a_second_has_the_blocked_loop_told_once_until_it_has_come_back() {
    alone(|| {
        warnings();
        let episodes = [Episode::default(), Episode::default()];
        let running = up(service(Thread, &episodes));
        let number = running.remote::<Cell<u8>>("number").unwrap();
        for (told_before, episode) in episodes.iter().enumerate() {
            episode.begins.open();
            episode.begun.wait();
            let begun = Instant::now();
            let calls = [number.call(Cell::get), number.call(Cell::get), number.call(Cell::get)];
            soon("it is told", || warned().len() > told_before);
            let told = warned().pop().unwrap();
            let said = "WARN test: loop io is blocked: thread io has been in task blocker for ";
            assert!(told.starts_with(said), "{told}");
            assert!(told.ends_with("; calls that wait for it: 3"), "{told}");
            assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
            let blocked = io(&running).blocked.expect("it is");
            assert_eq!((&*blocked.name, &*blocked.polling), ("io", "task blocker"));
            assert!(blocked.held >= 1.0, "{blocked}");
            // Once: not again for each request or call.
            let more = number.call(Cell::get);
            running.heartbeats();
            assert_eq!(running.blocked_loops().len(), 1);
            thread::sleep(Duration::from_millis(200));
            assert_eq!(warned().len(), told_before + 1, "{:?}", warned());
            episode.ends.open();
            for call in calls.into_iter().chain([more]) {
                assert_eq!(call.wait_timeout(SOON), Ok(7));
            }
            soon("it has come back", || io(&running).blocked.is_none());
            // A check a second after the last one reports it; a call that comes before belongs to the same blockade.
            thread::sleep(Duration::from_millis(2500));
        }
        assert_eq!(running.stop().code, 0);
        assert_eq!(warned().len(), 2, "{:?}", warned());
    });
}

#[test]
fn whoever_asks_finds_a_loop_that_must_not_be_blocked() {
    for ask in [
        (|running| drop(running.status())) as fn(&Running),
        |running| drop(running.heartbeats()),
        |running| drop(running.blocked_loops()),
    ] {
        alone_asking(ask);
    }
}

fn alone_asking(ask: fn(&Running)) {
    watched(|| {
        let episode = Episode::default();
        let running = up(service(Mortal::default(), std::slice::from_ref(&episode)));
        episode.begins.open();
        soon("it is blocked", || running.blocked_loops().iter().any(|l| l.polling == "task blocker"));
        ask(&running);
        assert_eq!(io(&running).blocked.expect("it is").polling, "task blocker");
        assert!(running.status().to_string().contains(", blocked in task blocker for "), "{}", running.status());
        episode.ends.open();
        soon("it has come back", || running.blocked_loops().is_empty());
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_question_has_it_told_once_without_a_call() {
    alone(|| {
        warnings();
        let episode = Episode::default();
        let running = up(service(Mortal::default(), std::slice::from_ref(&episode)));
        episode.begins.open();
        soon("it is blocked", || io(&running).blocked.is_some());
        soon("it is told", || warned().len() == 1);
        let told = warned();
        assert!(
            told[0].starts_with("WARN test: loop io is blocked: thread io has been in task blocker for "),
            "{told:?}"
        );
        (0..10).for_each(|_| drop(running.status()));
        episode.ends.open();
        assert_eq!(running.stop().code, 0);
        assert_eq!(warned(), told);
    });
}

#[test]
fn a_thread_that_may_be_blocked_is_so_only_if_somebody_waits() {
    alone(|| {
        warnings();
        let episode = Episode::default();
        let running = up(service(Thread, std::slice::from_ref(&episode)));
        episode.begins.open();
        // For longer than a second, in which nothing must be seen.
        thread::sleep(Duration::from_millis(1300));
        assert_eq!(running.blocked_loops(), []);
        assert!(io(&running).blocked.is_none());
        let call = running.remote::<Cell<u8>>("number").unwrap().call(Cell::get);
        assert_eq!(running.blocked_loops().len(), 1);
        soon("it is told", || warned().len() == 1);
        episode.ends.open();
        assert_eq!(call.wait_timeout(SOON), Ok(7));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_loop_that_is_blocked_while_the_service_starts_or_stops_is_not_told() {
    alone(|| {
        warnings();
        let (starting, stopping) = (Episode::default(), Episode::default());
        let mut service = service(Mortal::default(), &[starting.clone(), stopping.clone()]);
        let ready = Latch::default();
        let late = ready.clone();
        let starts = task_fn::<Thread>(async move |cx| {
            late.opened().await;
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("late", starts);
        let running = service.start().unwrap();
        let blocked = |episode: &Episode| {
            episode.begins.open();
            soon("it is blocked", || !running.blocked_loops().is_empty());
            // A check comes a second after the request.
            thread::sleep(Duration::from_millis(1200));
            assert_eq!(warned(), [""; 0]);
            episode.ends.open();
            soon("it has come back", || running.blocked_loops().is_empty());
        };
        blocked(&starting);
        ready.open();
        assert!(running.wait_started_timeout(SOON));
        running.request_shutdown("enough");
        blocked(&stopping);
        assert_eq!(running.join().code, 0);
    });
}

/// A loop with callbacks of its own, which run outside its turns, as those of GTK do.
#[derive(Clone, Default)]
struct Callbacks;

type Pending = Rc<RefCell<Vec<Box<dyn FnOnce()>>>>;

impl EventLoop for Callbacks {
    const NAME: &'static str = "callbacks";
    type Options = NoOptions;
    type Native = Pending;

    fn drive(
        self,
        _: NoOptions,
        mut mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, Pending),
    ) -> interloop::Result {
        let thread = thread::current();
        mailbox.set_notify(move || thread.unpark());
        let pending = Pending::default();
        started(&mailbox, pending.clone());
        loop {
            let turn = mailbox.turn();
            let callbacks = pending.take();
            match turn {
                Turn::Stop => return Ok(()),
                Turn::Idle if callbacks.is_empty() => thread::park(),
                Turn::Again | Turn::Idle => callbacks.into_iter().for_each(|callback| callback()),
            }
        }
    }
}

#[test]
fn one_call_is_enough_to_name_a_loop_that_a_callback_of_its_own_blocks() {
    alone(|| {
        warnings();
        let mut service = Service::new("test");
        service.task("window", quiet_resident::<Callbacks>());
        let window = service.remote_to::<Callbacks>();
        let running = up(service);
        for told_before in 0..2 {
            let episode = Episode::default();
            let (begun, ends) = (episode.begun.clone(), episode.ends.clone());
            let callback = move || {
                begun.open();
                ends.wait_for_ever();
            };
            let given = window.call(move |pending| pending.borrow_mut().push(Box::new(callback)));
            given.wait_timeout(SOON).unwrap();
            episode.begun.wait();
            let call = window.call(|_| 7);
            soon("it is told", || warned().len() > told_before);
            let told = warned().pop().unwrap();
            let said = "WARN test: loop callbacks is blocked: thread callbacks has been in its own events for ";
            assert!(told.starts_with(said), "{told}");
            assert!(told.ends_with("; calls that wait for it: 1"), "{told}");
            episode.ends.open();
            assert_eq!(call.wait_timeout(SOON), Ok(7));
            // A look a second after the last one ends the blockade; a call that comes before belongs to it.
            thread::sleep(Duration::from_millis(2500));
        }
        assert_eq!(running.stop().code, 0);
        assert_eq!(warned().len(), 2, "{:?}", warned());
    });
}
