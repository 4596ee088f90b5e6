use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use super::outside::{Label, Lane, Outside, STUCK};
use crate::{
    Service, State, Thread,
    control::{events::Message, status_board::StatusBoard},
    kit::clock::Clock,
    task_fn,
};

/// How long an event that is expected soon may take.
const SOON: Duration = Duration::from_secs(20);

fn outside() -> (Arc<StatusBoard>, Outside) {
    let board = StatusBoard::new("test", Clock::default());
    let outside = Outside::new(board.clone());
    outside.start().unwrap();
    (board, outside)
}

/// Checks on the hands, as the supervisor does, until this is told.
fn look_until<T>(outside: &Outside, told: &mpsc::Receiver<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        let next = outside.look().map_or(deadline, |next| next.min(deadline));
        match told.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(told) => return told,
            Err(_) => assert!(Instant::now() < deadline, "it does not come"),
        }
    }
}

/// Ends the hands when every thread is back. [`Outside::settle`] doesn't wait for a thread that has been named, and so
/// not for one that has just been released.
fn end(outside: &Outside) {
    let deadline = Instant::now() + SOON;
    outside.settle(deadline);
    while !outside.left_behind().is_empty() {
        assert!(Instant::now() < deadline, "left behind: {:?}", outside.left_behind());
        std::thread::sleep(Duration::from_millis(1));
    }
    outside.close(deadline);
}

#[test]
fn deeds_are_done_in_order() {
    let (_, outside) = outside();
    let (tells, told) = mpsc::channel();
    for number in 0..1000 {
        let tells = tells.clone();
        let lane = if number % 2 == 0 { Lane::Log } else { Lane::Alone };
        outside.push(lane, Label::new("a deed"), move || tells.send(number).unwrap());
    }
    // Nothing checks on the hand until all are done: on a busy machine it would be left behind, and the lanes would
    // separate.
    let numbers = (0..1000).map(|_| told.recv_timeout(SOON).unwrap());
    assert_eq!(numbers.collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
    end(&outside);
}

#[test]
fn a_lane_that_is_stuck_holds_up_no_other_and_catches_up_in_order() {
    let (board, outside) = outside();
    let (let_go, goes) = mpsc::channel::<()>();
    let (tells, told) = mpsc::channel();
    let io = Label::of("the notify of loop", &"io".into());
    outside.push(Lane::Loop(0), io.clone(), move || {
        let _ = goes.recv();
    });
    for number in 0..100 {
        for lane in [Lane::Loop(0), Lane::Loop(1)] {
            let tells = tells.clone();
            outside.push(lane, io.clone(), move || tells.send((lane, number)).unwrap());
        }
    }
    for number in 0..100 {
        assert_eq!(look_until(&outside, &told), (Lane::Loop(1), number));
    }
    // It is named, and no check follows.
    let deadline = Instant::now() + SOON;
    while board.warnings().is_empty() {
        assert!(Instant::now() < deadline);
        let next = outside.look().unwrap_or(deadline);
        std::thread::sleep(next.saturating_duration_since(Instant::now()).min(STUCK));
    }
    assert_eq!(board.warnings()[0].name, "the notify of loop io");
    assert!(told.try_recv().is_err());
    assert_eq!(outside.left_behind()[0].what, "the notify of loop io");
    let_go.send(()).unwrap();
    for number in 0..100 {
        assert_eq!(look_until(&outside, &told), (Lane::Loop(0), number));
    }
    end(&outside);
    assert_eq!((board.warnings().len(), outside.left_behind()), (0, Vec::new()));
    assert_eq!(outside.look(), None);
}

#[test]
fn many_that_block_take_a_bounded_number_of_threads() {
    let (_, outside) = outside();
    let (let_go, goes) = mpsc::channel::<()>();
    let goes = Arc::new(std::sync::Mutex::new(goes));
    for _ in 0..40 {
        let goes = goes.clone();
        outside.push(Lane::Alone, Label::new("a waker"), move || {
            let _ = goes.lock().unwrap().recv();
        });
    }
    let deadline = Instant::now() + SOON;
    while let Some(next) = outside.look() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    // The maximum of threads left behind, and the last hand.
    assert_eq!(outside.left_behind().len(), 33);
    drop(let_go);
    end(&outside);
    assert!(outside.left_behind().is_empty());
}

#[test]
fn a_panic_is_named_and_others_go_on() {
    let (board, outside) = outside();
    let (tells, told) = mpsc::channel();
    outside.push(Lane::Log, Label::new("the log"), || panic!("no words today"));
    outside.push(Lane::Log, Label::new("the log"), move || tells.send(()).unwrap());
    told.recv_timeout(SOON).unwrap();
    end(&outside);
    assert_eq!(board.warnings()[0].to_string(), "the log: it panicked: no words today");
}

#[test]
fn the_service_ends_with_a_report_when_the_supervisor_has_died() {
    let mut service = Service::new("test");
    let task = task_fn::<Thread>(async |cx| {
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("task", task);
    let running = service.start().unwrap();
    assert!(running.wait_started_timeout(SOON));
    running.events().tell(Message::Panic);
    let report = running.join_timeout(SOON).expect("it ends");
    assert_eq!((report.code, report.tasks[0].state), (1, State::Stopped), "{report}");
    assert_eq!(report.reason.to_string(), "the supervisor has died: on purpose");
}
