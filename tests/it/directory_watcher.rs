//! The watcher of a folder: what it reports, and that it loses nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::util::{Latch, SOON, alone, block_on, cause_of, up, watched};
use interloop::{
    Cause, Context, Error, EventLoop, RestartPolicy, Result, Running, Service, Thread, task_fn,
    tasks::{Change, DirectoryWatcher, OnChange, WatcherHandle},
};
use tempfile::TempDir;

/// Sends each change to the test.
#[derive(Clone)]
struct Tell(mpsc::Sender<Change>);

impl<L: EventLoop> OnChange<L> for Tell {
    async fn changed(&mut self, _: Context<L>, change: Change) -> Result {
        Ok(self.0.send(change)?)
    }
}

/// The changes that were reported.
struct Told {
    root: PathBuf,
    changes: mpsc::Receiver<Change>,
}

impl Told {
    fn next(&self) -> Change {
        self.changes.recv_timeout(SOON).expect("a change is told")
    }

    /// Returns the next one, as `created a/b`.
    fn line(&self) -> String {
        line(&self.root, &self.next())
    }

    /// Waits until all of these have been reported, in any order, and nothing else.
    #[track_caller]
    fn expect(&self, lines: &[&str]) {
        let told: BTreeSet<String> = lines.iter().map(|_| self.line()).collect();
        assert_eq!(told, lines.iter().map(|line| (*line).to_owned()).collect());
    }

    /// Waits for this one, whatever comes before.
    fn until(&self, wanted: &str) {
        while self.line() != wanted {}
    }
}

fn line(root: &Path, change: &Change) -> String {
    let name = change.path().strip_prefix(root).expect("it is in the folder");
    let what = change.to_string();
    format!("{} {}", what.split(' ').next().unwrap(), name.display())
}

fn teller(root: &Path) -> (DirectoryWatcher<Tell>, Told) {
    let (tell, changes) = mpsc::channel();
    let watcher = DirectoryWatcher::of(root, Tell(tell)).debounce(Duration::from_millis(10));
    (watcher, Told { root: root.to_owned(), changes })
}

/// Returns a running watcher, of the task `files`.
fn watching(watcher: DirectoryWatcher<Tell>) -> Running {
    let mut service = Service::new("test");
    service.task_on::<Thread>("files", watcher);
    up(service)
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn counter(running: &Running, name: &str) -> u64 {
    running.status().tasks[0].counters[name]
}

fn warnings(running: &Running) -> Vec<String> {
    running.warnings().into_iter().map(|warning| warning.name).collect()
}

fn down(running: Running) {
    assert_eq!(running.stop().code, 0);
}

// --- Reports ---

#[test]
fn files_that_are_created_changed_and_deleted_are_told_of_with_what_they_were() {
    watched(|| {
        let folder = folder();
        let (watcher, told) = teller(folder.path());
        let running = watching(watcher);
        let path = folder.path().join("a");

        fs::write(&path, "one").unwrap();
        let mut created = told.next();
        // It may have been seen before it was written.
        while created.after().unwrap().size == 0 {
            created = told.next();
        }
        assert!(created.path() == path && !created.after().unwrap().is_dir);
        let created = created.after().unwrap().clone();
        fs::write(&path, "three").unwrap();
        let mut changed = told.next();
        assert_eq!(changed.before(), Some(&created));
        while changed.after().unwrap().size != 5 {
            changed = told.next();
        }
        let latest = changed.after().unwrap().clone();
        assert_eq!(latest.inode, created.inode);
        assert!(latest.modified >= created.modified);
        fs::remove_file(&path).unwrap();
        let mut deleted = told.next();
        // The event of a write may come when the new content is known already.
        while deleted.after().is_some() {
            deleted = told.next();
        }
        assert_eq!(deleted, Change::Deleted(latest));
        assert!(counter(&running, "created") == 1 && counter(&running, "changed") >= 1);
        assert_eq!((counter(&running, "deleted"), counter(&running, "rescans")), (1, 0));
        down(running);
    });
}

#[test]
fn a_file_that_is_put_in_the_place_of_another_is_a_change() {
    watched(|| {
        let folder = folder();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&a, "old").unwrap();
        fs::write(&b, "new").unwrap();
        let (watcher, told) = teller(folder.path());
        let running = watching(watcher);
        fs::rename(&b, &a).unwrap();
        let changes = [told.next(), told.next()];
        let changed = changes.iter().find(|change| matches!(change, Change::Changed { .. })).unwrap();
        assert_ne!(changed.before().unwrap().inode, changed.after().unwrap().inode);
        assert!(changes.iter().any(|change| matches!(change, Change::Deleted(gone) if gone.path == b)));
        down(running);
    });
}

#[test]
fn what_is_there_at_the_start_is_told_of_where_that_is_wanted() {
    watched(|| {
        let folder = folder();
        fs::write(folder.path().join("a"), "").unwrap();
        let (watcher, told) = teller(folder.path());
        let running = watching(watcher.existing());
        assert_eq!(told.line(), "created a");
        down(running);

        let (watcher, told) = teller(folder.path());
        let running = watching(watcher);
        fs::write(folder.path().join("b"), "").unwrap();
        assert_eq!(told.line(), "created b");
        down(running);
    });
}

#[test]
fn what_happens_before_it_is_looked_at_is_one_change() {
    watched(|| {
        let folder = folder();
        let (watcher, told) = teller(folder.path());
        let mut service = Service::new("test");
        service.event_loop("shared", Thread);
        service.task_on::<Thread>("files", watcher).on("shared");
        let (slot, place) = service.slot::<()>("place");
        let keeper = task_fn::<Thread>(async move |cx| {
            cx.fill(slot, ());
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("keeper", keeper).on("shared");
        let running = up(service);
        // The loop sees nothing before all of it has happened.
        let (there, over) = (Latch::default(), Latch::default());
        let (open, wait) = (there.clone(), over.clone());
        place
            .post(move |()| {
                open.open();
                wait.wait();
            })
            .unwrap();
        there.wait();
        let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
        fs::write(&a, "1").unwrap();
        fs::write(&b, "12").unwrap();
        fs::remove_file(&b).unwrap();
        fs::write(&a, "123").unwrap();
        fs::write(&c, "").unwrap();
        over.open();
        let created = told.next();
        assert_eq!((line(&told.root, &created), created.after().unwrap().size), ("created a".into(), 3));
        assert_eq!(told.line(), "created c");
        down(running);
        assert!(told.changes.recv().is_err(), "that was all");
    });
}

#[test]
fn a_change_is_told_of_after_a_silence() {
    watched(|| {
        let folder = folder();
        let (watcher, told) = teller(folder.path());
        let silence = Duration::from_millis(100);
        let mut service = Service::new("test");
        service.task_on::<Thread>("files", watcher).set("debounce", "100ms");
        let running = up(service);
        let begun = Instant::now();
        fs::write(folder.path().join("a"), "").unwrap();
        assert_eq!(told.line(), "created a");
        assert!(begun.elapsed() >= silence);
        // A command that never ends holds up no report.
        let (stop, stopped) = mpsc::channel::<()>();
        let noise = folder.path().join("noise");
        let writer = thread::spawn(move || {
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                fs::write(&noise, "x").unwrap();
            }
        });
        assert_eq!(told.line(), "created noise");
        assert_eq!(told.line(), "changed noise");
        down(running);
        drop(stop);
        writer.join().unwrap();
    });
}

// --- Where ---

#[test]
fn folders_are_looked_into_however_quickly_they_are_filled() {
    watched(|| {
        let (folder, outside) = (folder(), folder());
        let (watcher, told) = teller(folder.path());
        let running = watching(watcher.recursive());
        let deep = folder.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "1").unwrap();
        told.expect(&["created a", "created a/b", "created a/b/c", "created a/b/c/file"]);
        fs::write(deep.join("file"), "12345").unwrap();
        told.until("changed a/b/c/file");

        // Moved away, its files are no longer watched; moved in, they are.
        fs::rename(folder.path().join("a"), outside.path().join("a")).unwrap();
        while told.line() != "deleted a" {}
        fs::write(outside.path().join("a/b/c/other"), "").unwrap();
        fs::rename(outside.path().join("a"), folder.path().join("z")).unwrap();
        told.expect(&["created z", "created z/b", "created z/b/c", "created z/b/c/file", "created z/b/c/other"]);
        fs::remove_file(folder.path().join("z/b/c/other")).unwrap();
        assert_eq!(told.line(), "deleted z/b/c/other");

        // Another in its place.
        fs::remove_dir_all(folder.path().join("z")).unwrap();
        told.until("deleted z");
        fs::create_dir_all(folder.path().join("z/b")).unwrap();
        told.expect(&["created z", "created z/b"]);
        fs::write(folder.path().join("z/b/file"), "").unwrap();
        assert_eq!(told.line(), "created z/b/file");
        down(running);
    });
}

#[test]
fn a_folder_that_is_replaced_again_and_again_is_known_as_it_is_at_last() {
    watched(|| {
        let folder = folder();
        let (watcher, told) = teller(folder.path());
        let running = watching(watcher.recursive().debounce(Duration::ZERO));
        let sub = folder.path().join("sub");
        for round in 0..100 {
            fs::create_dir(&sub).unwrap();
            fs::write(sub.join(format!("{round}")), "").unwrap();
            fs::remove_dir_all(&sub).unwrap();
        }
        fs::create_dir(&sub).unwrap();
        fs::write(sub.join("last"), "").unwrap();
        told.until("created sub/last");
        fs::write(sub.join("and more"), "").unwrap();
        told.until("created sub/and more");
        down(running);
    });
}

/// The tree, reconstructed from the reports.
#[derive(Default)]
struct Model(BTreeMap<PathBuf, bool>);

impl Model {
    /// Applies a change, which must fit the earlier reports.
    fn apply(&mut self, change: &Change) {
        let known = self.0.get(change.path()).copied();
        assert_eq!(known, change.before().map(|old| old.is_dir), "{change:?}");
        match change.after() {
            Some(new) => self.0.insert(new.path.clone(), new.is_dir),
            None => self.0.remove(change.path()),
        };
    }

    /// Reads reports until they match the folder.
    fn catch_up(&mut self, told: &Told) {
        loop {
            while let Ok(change) = told.changes.try_recv() {
                self.apply(&change);
            }
            let there = tree(&told.root);
            if self.0 == there {
                return;
            }
            match told.changes.recv_timeout(SOON) {
                Ok(change) => self.apply(&change),
                Err(error) => panic!("{error}: known is {:#?}\nthere is {there:#?}", self.0),
            }
        }
    }
}

/// Returns everything in a folder, and whether it is a folder.
fn tree(folder: &Path) -> BTreeMap<PathBuf, bool> {
    let mut found = BTreeMap::new();
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        let is_dir = fs::symlink_metadata(&path).unwrap().is_dir();
        if is_dir {
            found.extend(tree(&path));
        }
        found.insert(path, is_dir);
    }
    found
}

#[test]
fn a_storm_of_renames_and_replacements_ends_in_what_is_there() {
    watched(|| {
        let folder = folder();
        let (watcher, told) = teller(folder.path());
        let running = watching(watcher.recursive().debounce(Duration::from_millis(1)));
        let mut model = Model::default();
        let mut state = 1_u64;
        // xorshift: the same storm each time.
        let mut dice = move |sides: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % sides
        };
        for _ in 0..20 {
            for _ in 0..100 {
                let mut place = || {
                    let depth = 1 + dice(3);
                    (0..depth).fold(folder.path().to_owned(), |path, _| path.join(["a", "b", "c"][dice(3) as usize]))
                };
                let (one, other) = (place(), place());
                // Impossible operations are skipped.
                let _ = match dice(6) {
                    0 | 1 => fs::create_dir_all(&one),
                    2 => fs::write(&one, "x"),
                    3 | 4 => fs::rename(&one, &other),
                    _ => fs::remove_dir_all(&one).or_else(|_| fs::remove_file(&one)),
                };
            }
            model.catch_up(&told);
        }
        // All folders that are left are watched.
        let folders: Vec<PathBuf> =
            model.0.iter().filter(|(_, is_dir)| **is_dir).map(|(path, _)| path.clone()).collect();
        folders.iter().for_each(|folder| fs::write(folder.join("end"), "").unwrap());
        model.catch_up(&told);
        assert!(!folders.is_empty());
        down(running);
    });
}

#[test]
fn a_burst_of_thousands_of_files_deep_down_is_told_of_file_by_file() {
    watched(|| {
        let folder = folder();
        let (watcher, told) = teller(folder.path());
        let watcher = watcher.recursive();
        let mut slow = watcher.handle().changes();
        let running = watching(watcher);
        let mut model = Model::default();
        let deep = (0..50).fold(folder.path().to_owned(), |path, depth| path.join(depth.to_string()));
        fs::create_dir_all(&deep).unwrap();
        (0..2000).for_each(|number| fs::write(deep.join(number.to_string()), "").unwrap());
        (0..2050).for_each(|_| model.apply(&told.next()));
        model.catch_up(&told);
        fs::remove_dir_all(folder.path().join("0")).unwrap();
        (0..2050).for_each(|_| model.apply(&told.next()));
        model.catch_up(&told);
        assert_eq!((counter(&running, "created"), counter(&running, "deleted")), (2050, 2050));
        // To a watch that was not polled meanwhile, nothing has happened.
        assert_eq!(slow.try_next(), None);
        down(running);
    });
}

#[test]
fn names_of_any_bytes_and_trees_that_are_too_deep_do_no_harm() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    watched(|| {
        let (folder, outside) = (folder(), folder());
        let (watcher, told) = teller(folder.path());
        let running = watching(watcher.recursive());
        let odd = folder.path().join(OsStr::from_bytes(b"\xff\n\x01"));
        fs::create_dir(&odd).unwrap();
        assert_eq!(told.next().path(), odd);
        fs::write(odd.join(OsStr::from_bytes(b"\xfe")), "").unwrap();
        assert_eq!(told.next().path(), odd.join(OsStr::from_bytes(b"\xfe")));

        // Two trees whose paths the system accepts, one moved into the other, make paths that it doesn't.
        let deep = |top: &Path| (0..15).fold(top.join("deep"), |path, _| path.join("x".repeat(200)));
        let (upper, lower) = (deep(folder.path()), deep(outside.path()));
        fs::create_dir_all(&upper).unwrap();
        fs::create_dir_all(&lower).unwrap();
        fs::rename(outside.path().join("deep"), upper.join("more")).unwrap();
        fs::write(folder.path().join("end"), "").unwrap();
        told.until("created end");
        fs::remove_dir_all(folder.path().join("deep")).unwrap();
        told.until("deleted deep");
        down(running);
    });
}

#[test]
fn a_folder_that_becomes_a_file_is_missing_until_it_is_a_folder_again() {
    watched(|| {
        let outer = folder();
        let root = outer.path().join("root");
        fs::create_dir(&root).unwrap();
        let (watcher, told) = teller(&root);
        let running = watching(watcher.recursive());
        for _ in 0..3 {
            fs::write(root.join("file"), "").unwrap();
            assert_eq!(told.line(), "created file");
            fs::remove_dir_all(&root).unwrap();
            fs::write(&root, "").unwrap();
            assert_eq!(told.line(), "deleted file");
            while warnings(&running) != ["folder"] {
                thread::yield_now();
            }
            // Put in its place at once.
            let next = outer.path().join("next");
            fs::create_dir(&next).unwrap();
            fs::remove_file(&root).unwrap();
            fs::rename(&next, &root).unwrap();
            while !warnings(&running).is_empty() {
                thread::yield_now();
            }
        }
        down(running);
    });
}

#[test]
fn folders_are_not_looked_into_where_that_is_not_wanted() {
    watched(|| {
        let folder = folder();
        fs::create_dir(folder.path().join("sub")).unwrap();
        let (watcher, told) = teller(folder.path());
        let running = watching(watcher);
        fs::write(folder.path().join("sub/a"), "").unwrap();
        fs::create_dir(folder.path().join("other")).unwrap();
        fs::write(folder.path().join("other/a"), "").unwrap();
        fs::write(folder.path().join("z"), "").unwrap();
        told.expect(&["created other", "created z"]);
        down(running);
    });
}

#[test]
fn what_the_filter_says_no_to_is_not_there() {
    watched(|| {
        let folder = folder();
        fs::create_dir(folder.path().join("target")).unwrap();
        let (watcher, told) = teller(folder.path());
        let wanted = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
        let watcher = watcher.filter(move |entry| match entry.is_dir {
            true => !entry.path.ends_with("target"),
            false => wanted(&entry.path),
        });
        let running = watching(watcher.recursive());
        fs::write(folder.path().join("target/a.rs"), "").unwrap();
        fs::write(folder.path().join("a.txt"), "").unwrap();
        fs::write(folder.path().join("b.rs"), "").unwrap();
        assert_eq!(told.line(), "created b.rs");
        fs::rename(folder.path().join("b.rs"), folder.path().join("b.txt")).unwrap();
        assert_eq!(told.line(), "deleted b.rs");
        down(running);
    });
}

#[test]
fn a_folder_may_be_missing_and_come_and_go() {
    watched(|| {
        let folder = folder();
        let root = folder.path().join("not/yet/there");
        let (watcher, told) = teller(&root);
        let running = watching(watcher);
        assert_eq!(warnings(&running), ["folder"]);
        for _ in 0..3 {
            fs::create_dir_all(&root).unwrap();
            fs::write(root.join("a"), "").unwrap();
            assert_eq!(told.line(), "created a");
            assert!(warnings(&running).is_empty());
            fs::remove_dir_all(folder.path().join("not")).unwrap();
            assert_eq!(told.line(), "deleted a");
            assert_eq!(warnings(&running), ["folder"]);
        }
        // A file in its place isn't a folder.
        fs::create_dir(root.parent().unwrap().parent().unwrap()).unwrap();
        fs::create_dir(root.parent().unwrap()).unwrap();
        fs::write(&root, "").unwrap();
        while !running.warnings()[0].text.ends_with("it is no folder") {
            thread::yield_now();
        }
        fs::remove_file(&root).unwrap();
        // A folder that was moved away is missing too.
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("b"), "").unwrap();
        assert_eq!(told.line(), "created b");
        fs::rename(&root, folder.path().join("not/elsewhere")).unwrap();
        assert_eq!(told.line(), "deleted b");
        fs::rename(folder.path().join("not/elsewhere"), &root).unwrap();
        assert_eq!(told.line(), "created b");
        down(running);
    });
}

#[test]
fn a_link_that_comes_to_lead_elsewhere_is_seen() {
    watched(|| {
        let folder = folder();
        for (release, text) in [("1", "one"), ("2", "second")] {
            fs::create_dir(folder.path().join(release)).unwrap();
            fs::write(folder.path().join(release).join("a"), text).unwrap();
        }
        let switch = |to: &str, link: &Path| {
            let next = folder.path().join("next");
            symlink(to, &next).unwrap();
            fs::rename(&next, link).unwrap();
        };
        // The folder itself is one.
        let current = folder.path().join("current");
        switch("1", &current);
        let (watcher, told) = teller(&current);
        let running = watching(watcher);
        switch("2", &current);
        let changed = told.next();
        assert_eq!((changed.before().unwrap().size, changed.after().unwrap().size), (3, 6));
        down(running);

        // One in the folder that others lead through: as in Kubernetes.
        let config = folder.path().join("config");
        fs::create_dir(&config).unwrap();
        switch("../1", &config.join("..data"));
        symlink("..data/a", config.join("a")).unwrap();
        let (watcher, told) = teller(&config);
        let running = watching(watcher);
        switch("../2", &config.join("..data"));
        told.expect(&["changed ..data", "changed a"]);
        down(running);
    });
}

#[test]
fn without_events_it_looks_every_so_often() {
    alone(|| {
        let folder = folder();
        let root = folder.path().join("there");
        let (watcher, told) = teller(&root);
        let mut service = Service::new("test");
        let watcher = watcher.recursive().poll().poll_interval(Duration::from_millis(5));
        service.task_on::<Thread>("files", watcher);
        let running = up(service);
        assert_eq!(running.status().tasks[0].exports["watches"], "every 5 ms, as it was asked to");
        fs::create_dir_all(root.join("sub")).unwrap();
        told.expect(&["created sub"]);
        fs::write(root.join("sub/a"), "1").unwrap();
        told.until("created sub/a");
        fs::write(root.join("sub/a"), "12").unwrap();
        told.until("changed sub/a");
        fs::remove_dir_all(&root).unwrap();
        told.until("deleted sub");
        assert!(counter(&running, "rescans") > 0);
        assert_eq!(threads_named("notify"), 0);
        down(running);
    });
}

// --- Failures ---

#[test]
fn an_error_of_the_callback_fails_the_task_and_so_does_a_panic_of_the_filter() {
    watched(|| {
        let folder = folder();
        let mut service = Service::new("test");
        let watcher = DirectoryWatcher::new(folder.path(), |_| Err::<(), _>(Error::new("not like that")));
        let handle = watcher.handle();
        service.task_on::<Thread>("files", watcher);
        let (running, mut changes) = (up(service), handle.changes());
        fs::write(folder.path().join("a"), "").unwrap();
        let report = running.join_timeout(SOON).expect("a failure ends the service");
        assert_eq!((report.code, cause_of(&report, "files")), (1, Cause::Error("not like that".into())));
        // Others have been notified.
        assert!(block_on(changes.next()).is_some());
        assert_eq!(block_on(changes.next()), None);

        let mut service = Service::new("test");
        let (watcher, _told) = teller(folder.path());
        service.task_on::<Thread>("files", watcher.filter(|_| panic!("no taste")));
        let report = service.start().unwrap().join_timeout(SOON).expect("a failure ends the service");
        assert!(matches!(cause_of(&report, "files"), Cause::Panicked(why) if why.contains("no taste")), "{report}");
    });
}

#[test]
fn what_was_not_told_before_a_failure_is_told_by_the_next_incarnation() {
    watched(|| {
        let folder = folder();
        let (tell, changes) = mpsc::channel();
        let watcher = DirectoryWatcher::new(folder.path(), move |change: Change| {
            let fails = change.path().ends_with("b");
            tell.send(change).unwrap();
            if fails { Err(Error::new("b is too much")) } else { Ok(()) }
        });
        let (handle, watcher) = (watcher.handle(), watcher.debounce(Duration::from_millis(10)));
        let mut service = Service::new("test");
        service
            .task_with::<Thread>("files", move || watcher.clone())
            .offers(&handle)
            .restart(RestartPolicy::on_failure());
        let running = up(service);
        let mut follows = handle.changes();
        for name in ["a", "b", "c", "d"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let told = Told { root: folder.path().to_owned(), changes };
        told.expect(&["created a", "created b", "created c", "created d"]);
        let followed: BTreeSet<_> = (0..4).map(|_| block_on(follows.next()).unwrap().path().to_owned()).collect();
        assert_eq!(followed.len(), 4);
        assert_eq!(running.status().tasks[0].incarnation, 2);
        down(running);
    });
}

// --- Others ---

#[test]
fn who_follows_on_any_loop_misses_nothing_and_gets_what_came_together_as_one() {
    watched(|| {
        let (folder, outside) = (folder(), folder());
        let (watcher, told) = teller(folder.path());
        let handle = watcher.handle();
        let mut service = Service::new("test");
        let (path, follows) = (folder.path().join("from afar"), handle.clone());
        let follower = task_fn::<Thread>(async move |cx| {
            let handle: WatcherHandle = cx.service().task_handle("files")?;
            let mut changes = handle.changes();
            cx.ready();
            while changes.next().await.is_some_and(|change| change.path() != path) {}
            Ok(())
        });
        service.task("follower", follower).uses(&follows);
        service.task_on::<Thread>("files", watcher);
        let running = up(service);
        let (mut changes, mut unread) = (handle.changes(), handle.changes());
        let waits = thread::spawn(move || block_on(unread.next()).map(|change| change.to_string()));
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        fs::write(&a, "1").unwrap();
        told.until("created a");
        assert_eq!(waits.join().unwrap(), Some(format!("created {}", a.display())));
        fs::write(&b, "").unwrap();
        told.until("created b");
        fs::remove_file(&b).unwrap();
        told.until("deleted b");
        let outside = outside.path().join("a");
        fs::write(&outside, "12").unwrap();
        fs::rename(outside, &a).unwrap();
        while told.next().after().is_none_or(|new| new.size != 2) {}
        fs::write(folder.path().join("from afar"), "").unwrap();
        told.until("created from afar");
        let created = block_on(changes.next()).unwrap();
        assert!(matches!(&created, Change::Created(new) if new.path == a && new.size == 2), "{created}");
        assert_eq!(block_on(changes.next()).unwrap().path(), folder.path().join("from afar"));
        down(running);
        // To the end, and no further.
        while block_on(changes.next()).is_some() {}
        assert_eq!(block_on(handle.changes().next()), None);
    });
}

#[test]
fn who_follows_a_task_that_never_starts_is_told() {
    watched(|| {
        let (watcher, _told) = teller(Path::new("/"));
        let handle = watcher.handle();
        drop(watcher);
        assert_eq!(block_on(handle.changes().next()), None);
    });
}

// --- Threads ---

/// Counts the threads of this process whose names begin like this.
fn threads_named(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|thread| thread.starts_with(name)).count()
}

#[test]
fn it_has_two_threads_that_end_with_it() {
    alone(|| {
        let (folder, before) = (folder(), crate::util::threads());
        let (watcher, _told) = teller(folder.path());
        let running = watching(watcher);
        // A thread sets its name a moment after it was started.
        while (threads_named("files-"), threads_named("notify")) != (1, 1) {
            thread::yield_now();
        }
        down(running);
        // notify's thread has sent everything, and is about to return.
        while threads_named("notify") > 0 {
            thread::yield_now();
        }
        assert_eq!(threads_named("files-"), 0);
        assert!(crate::util::threads() <= before);
    });
}

/// Tests that count wakeups, which must be alone on the machine.
mod quiet {
    use std::time::Duration;

    use super::{down, folder, teller, watching};
    use crate::util::{alone, silence, switches};

    #[test]
    fn it_does_not_wake_up_when_nothing_happens() {
        alone(|| {
            let folder = folder();
            let (watcher, _told) = teller(folder.path());
            let there = watching(watcher.recursive());
            let (watcher, _told) = teller(&folder.path().join("missing"));
            let missing = watching(watcher);
            let before = silence();
            // Silence can only be observed by waiting.
            std::thread::sleep(Duration::from_secs(2));
            assert_eq!(switches(), before);
            down(there);
            down(missing);
        });
    }
}
