//! The poller by a fake clock: what it fetches, and who hears of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use interloop::{CallError, Error, RestartPolicy, Result, Service, Thread, testing::TestService};
use poller::{Poller, PollerHandle};

const SOON: Duration = Duration::from_secs(10);

/// Counts how often it is fetched; the third time it fails, the fifth it panics.
fn poller() -> (Service, PollerHandle<u64>) {
    let count = Arc::new(AtomicU64::new(0));
    let fetch = move || -> Result<u64> {
        match count.fetch_add(1, Ordering::Relaxed) + 1 {
            3 => Err(Error::new("nobody is at home")),
            5 => panic!("nobody was ever at home"),
            number => Ok(number),
        }
    };
    let poller = Poller::new(fetch);
    let handle = poller.handle.clone();
    let mut service = Service::new("test");
    service.task_with::<Thread>("poller", move || poller.clone()).offers(&handle).restart(RestartPolicy::on_failure());
    (service, handle)
}

#[test]
fn it_polls_by_the_clock_warns_and_comes_again() {
    let (service, handle) = poller();
    let mut test = TestService::new(service).args(["--poller-interval", "30s"]);
    let clock = test.fake_clock();
    let test = test.start();
    clock.settle();
    assert_eq!(handle.value(), Some(1));
    let second = handle.next();
    clock.advance(Duration::from_secs(29));
    assert!(!second.is_done());
    clock.advance(Duration::from_secs(1));
    assert_eq!(second.wait_timeout(SOON), Ok(2));
    clock.advance(Duration::from_secs(30));
    let warnings = test.status().warnings;
    assert_eq!(warnings[0].to_string(), "poller.fetch: nobody is at home");
    assert_eq!((test.counter("poller.fetched"), handle.value()), (2, Some(2)));
    clock.advance(Duration::from_secs(30));
    assert_eq!((test.status().warnings.len(), handle.value()), (0, Some(4)));
    // The panic of a thread is its task's failure here; the next incarnation fetches at once.
    let lost = handle.next();
    clock.advance(Duration::from_secs(40));
    assert_eq!(lost.wait_timeout(SOON), Err(CallError::Cancelled));
    assert_eq!(handle.value(), Some(6));
    let last = handle.next();
    let report = test.stop();
    assert_eq!((report.code, report.left_behind.len()), (0, 0), "{report}");
    assert_eq!(
        (last.wait_timeout(SOON), handle.next().wait_timeout(SOON)),
        (Err(CallError::Cancelled), Err(CallError::Stopped))
    );
}

#[test]
fn it_is_the_one_of_the_page() {
    let page = include_str!("../../../docs/writing-a-task.md");
    let code = include_str!("../src/lib.rs");
    let code = code.split_once("\n\n").expect("the head, then the code").1;
    assert!(page.contains(code), "docs/writing-a-task.md shows another poller than examples/poller/src/lib.rs");
}

#[test]
fn it_has_sixty_lines_of_code() {
    let lines = include_str!("../src/lib.rs").lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    assert!(lines <= 60, "{lines} lines of code: docs/writing-a-task.md says 60");
}
