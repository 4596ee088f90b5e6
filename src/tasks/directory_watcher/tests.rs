//! What can only be brought about from inside: queues that overflow, and times that are too coarse.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::{
    Change,
    ears::{Inbox, Look},
    scout::{Known, Root, Scout},
};
use crate::tasks::common::lock;

/// How long a wait may take.
const SOON: Duration = Duration::from_secs(10);

struct Eye {
    scout: Scout,
    inbox: Arc<Inbox>,
    known: Arc<Mutex<Known>>,
}

impl Eye {
    fn on(root: &Path) -> Self {
        let (inbox, known) = (Arc::new(Inbox::new(root.to_owned())), Arc::default());
        let scout = Scout::new(root.to_owned(), true, None, Arc::clone(&known), inbox.clone(), false);
        Self { scout, inbox, known }
    }

    /// Looks, and marks all findings as reported.
    fn look(&mut self, look: Look) -> Vec<Change> {
        let view = self.scout.look(look);
        assert_eq!(view.root, Root::There);
        view.changes.iter().for_each(|change| lock(&self.known).apply(change));
        view.changes
    }

    fn until_heard(&self) {
        let begun = Instant::now();
        while self.inbox.poll(&Context::from_waker(Waker::noop())) == Poll::Pending {
            assert!(begun.elapsed() < SOON, "nothing is heard");
            std::thread::yield_now();
        }
    }
}

#[test]
fn what_the_system_has_dropped_is_found() {
    let folder = tempfile::tempdir().expect("there is room");
    let mut eye = Eye::on(folder.path());
    assert_eq!(eye.look(Look::Everywhere), []);
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("it is Linux");
    let limit: usize = limit.trim().parse().expect("a number");
    // The handler is stuck with the first event; each file causes three more.
    let deaf = eye.inbox.hold();
    let count = limit / 2;
    for number in 0..count {
        fs::write(folder.path().join(number.to_string()), "").expect("there is room");
    }
    fs::create_dir(folder.path().join("sub")).expect("there is room");
    fs::write(folder.path().join("sub/last"), "").expect("there is room");
    drop(deaf);

    let (mut created, mut overflows) = (0, 0);
    while created < count + 2 || overflows == 0 {
        eye.until_heard();
        let (look, overflowed) = eye.inbox.take();
        overflows += overflowed;
        created += eye.look(look).iter().filter(|change| matches!(change, Change::Created(_))).count();
    }
    assert_eq!((created, overflows), (count + 2, 1));
    // The new folder has been looked into, and is listened to.
    let last = folder.path().join("sub/last");
    fs::remove_file(&last).expect("it is there");
    loop {
        eye.until_heard();
        let look = eye.inbox.take().0;
        if eye.look(look).iter().any(|change| matches!(change, Change::Deleted(gone) if gone.path == last)) {
            break;
        }
    }
}

#[test]
fn a_file_that_is_written_to_within_the_same_moment_has_changed() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("a");
    let mut eye = Eye::on(folder.path());
    eye.look(Look::Everywhere);
    let look = |written| Look::At([(path.clone(), written)].into());
    fs::write(&path, "").expect("there is room");
    // This is later than now, so it can't be told from what comes next.
    let now = fs::File::options().write(true).open(&path).expect("it is there");
    now.set_modified(std::time::SystemTime::now()).expect("it may");
    assert_eq!(eye.look(look(true)).len(), 1);
    let changes = eye.look(look(true));
    assert!(matches!(&changes[..], [Change::Changed { old, new }] if old == new), "{changes:?}");
    assert_eq!(eye.look(look(false)), []);
}
