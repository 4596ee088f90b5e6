//! Options that change while the service runs.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use crate::util::{Latch, SOON, alone, quiet_resident, reach, state_of, threads, up, watched};
use interloop::{
    Context, EventLoop, Result, Running, Service, State, Task, Thread, clap,
    options::{Applied, Origin},
    task_fn,
    tasks::{Periodic, Poller, Work},
};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(clap::Args, Clone)]
struct Limits {
    #[arg(long, default_value_t = 1)]
    most: u64,
    #[arg(long, conflicts_with = "most")]
    unlimited: bool,
}

fn value(running: &Running, name: &str) -> String {
    running.options().get(name).unwrap().value().unwrap().to_owned()
}

/// Reports the options of each incarnation; with `listens`, each change too.
struct Teller {
    listens: bool,
    said: mpsc::Sender<u64>,
}

impl<L: EventLoop> Task<L> for Teller {
    type Options = Limits;

    async fn run(&mut self, cx: Context<L, Limits>) -> Result {
        let said = self.said.clone();
        let _ = said.send(cx.options().most);
        if self.listens {
            let mut changes = cx.option_changes();
            let listens = async move {
                loop {
                    let _ = said.send(changes.next().await.most);
                }
            };
            cx.spawn_local(listens).detach();
        }
        cx.until_shutdown().await;
        Ok(())
    }
}

fn tellers(names: &[(&str, bool)]) -> (Service, mpsc::Receiver<u64>) {
    let (mut service, (said, heard)) = (Service::new("test"), mpsc::channel());
    for (name, listens) in names {
        let (listens, said) = (*listens, said.clone());
        service.task_with::<Thread>(*name, move || Teller { listens, said: said.clone() });
    }
    (service, heard)
}

#[test]
fn who_listens_gets_a_change_at_once() {
    watched(|| {
        let (service, heard) = tellers(&[("http", true)]);
        let running = up(service);
        assert_eq!(heard.recv_timeout(SOON), Ok(1));
        for most in 2..5 {
            assert_eq!(running.options().set("http-most", most), Ok(Applied::Now));
            assert_eq!(heard.recv_timeout(SOON), Ok(most));
        }
        assert_eq!(running.options().get("http-most").unwrap().origin(), &Origin::Set);
        assert_eq!(running.options().reset("http-most"), Ok(Applied::Now));
        assert_eq!((heard.recv_timeout(SOON), value(&running, "http-most").as_str()), (Ok(1), "1"));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn who_does_not_listen_gets_it_at_the_next_incarnation() {
    watched(|| {
        let (service, heard) = tellers(&[("http", false)]);
        let running = up(service);
        let mut watch = running.watch();
        assert_eq!(heard.recv_timeout(SOON), Ok(1));
        assert_eq!(running.options().set("http-most", 7), Ok(Applied::AtRestart));
        running.restart_task("http").unwrap();
        reach(&mut watch, "http", 2, State::Running);
        assert_eq!(heard.recv_timeout(SOON), Ok(7));
        assert_eq!(running.stop().code, 0);
        assert!(heard.recv().is_err(), "it heard of nothing else");
    });
}

#[test]
fn what_is_refused_is_heard_of_by_nobody() {
    watched(|| {
        let (mut service, heard) = tellers(&[("http", true)]);
        service.arguments(["--http-most", "2"]);
        let running = up(service);
        assert_eq!(heard.recv_timeout(SOON), Ok(2));
        let error = running.options().set("http-most", "many").unwrap_err().to_string();
        assert_eq!(error, "invalid value 'many' for '--http-most <MOST>': invalid digit found in string");
        let error = running.options().set("http-unlimited", true).unwrap_err().to_string();
        assert_eq!(error, "the argument '--http-unlimited' cannot be used with '--http-most <MOST>'");
        assert!(running.options().set("http-moist", 1).unwrap_err().is_unknown());
        // The next one that arrives is the next valid one.
        assert_eq!(running.options().set("http-most", 3), Ok(Applied::Now));
        assert_eq!(heard.recv_timeout(SOON), Ok(3));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn no_change_is_lost_by_a_wait_that_is_cancelled() {
    watched(|| {
        let (mut service, (said, heard)) = (Service::new("test"), mpsc::channel());
        struct Impatient(mpsc::Sender<u64>);
        impl Task<Thread> for Impatient {
            type Options = Limits;
            async fn run(&mut self, cx: Context<Thread, Limits>) -> Result {
                let mut changes = cx.option_changes();
                let mut stop = pin!(cx.until_shutdown());
                // Polls once each time it is woken, with a new wait, and drops it.
                poll_fn(|poll| {
                    while let Poll::Ready(limits) = pin!(changes.next()).poll(poll) {
                        let _ = self.0.send(limits.most);
                    }
                    stop.as_mut().poll(poll)
                })
                .await;
                Ok(())
            }
        }
        service.task("http", Impatient(said));
        let running = up(service);
        for most in 2..50 {
            assert_eq!(running.options().set("http-most", most), Ok(Applied::Now));
            assert_eq!(heard.recv_timeout(SOON), Ok(most));
        }
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn whoever_sets_while_a_task_stops_and_starts_the_last_value_is_heard() {
    watched(|| {
        let (mut service, last) = (Service::new("test"), Latch::default());
        struct Hears(Latch);
        impl Task<Thread> for Hears {
            type Options = Limits;
            async fn run(&mut self, cx: Context<Thread, Limits>) -> Result {
                let (mut changes, last) = (cx.option_changes(), self.0.clone());
                let mut most = cx.options().most;
                let hears = async move {
                    while most < 1000 {
                        most = changes.next().await.most;
                    }
                    last.open();
                };
                cx.spawn_local(hears).detach();
                cx.until_shutdown().await;
                Ok(())
            }
        }
        let l = last.clone();
        service.task_with::<Thread>("http", move || Hears(l.clone()));
        let running = up(service);
        let (options, mut watch) = (running.options(), running.watch());
        let setter = thread::spawn(move || (2..=1000).for_each(|most| assert!(options.set("http-most", most).is_ok())));
        for incarnation in 2..20 {
            running.restart_task("http").unwrap();
            reach(&mut watch, "http", incarnation, State::Running);
        }
        setter.join().unwrap();
        last.wait();
        assert_eq!(value(&running, "http-most"), "1000");
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn options_can_be_set_from_the_start_to_the_end_and_beyond() {
    watched(|| {
        let (service, heard) = tellers(&[("http", true)]);
        let handle = service.handle();
        let error = handle.options().set("http-most", 2).unwrap_err().to_string();
        assert_eq!((error.as_str(), handle.options().list().len()), ("the service has not been started", 0));
        let running = up(service);
        let options = handle.options();
        let (enough, go_on) = (Latch::default(), Latch::default());
        let (e, g) = (enough.clone(), go_on.clone());
        let setter = thread::spawn(move || {
            (2..1000).for_each(|most| {
                if most == 100 {
                    e.open();
                }
                let _ = options.set("http-most", most).unwrap();
            });
            g.wait();
            options.set("http-most", 1000)
        });
        enough.wait();
        assert_eq!(running.stop().code, 0);
        go_on.open();
        assert_eq!(setter.join().unwrap(), Ok(Applied::AtRestart), "nobody listens any more");
        // In order, whatever was left out.
        assert!(heard.iter().collect::<Vec<_>>().is_sorted());
    });
}

#[test]
fn the_service_reads_its_own_options_as_they_are() {
    watched(|| {
        let mut service = Service::new("test");
        service.options::<Limits>().task("idle", quiet_resident::<Thread>());
        let running = up(service);
        assert_eq!(running.own_options::<Limits>().unwrap().most, 1);
        assert_eq!(running.options().set("most", 2), Ok(Applied::Now));
        assert_eq!(running.own_options::<Limits>().unwrap().most, 2);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn what_was_decided_at_the_start_cannot_be_set() {
    watched(|| {
        struct Anywhere;
        impl<L: EventLoop> Task<L> for Anywhere {
            type Options = Limits;
            async fn run(&mut self, cx: Context<L, Limits>) -> Result {
                cx.until_shutdown().await;
                Ok(())
            }
        }
        let mut service = Service::new("test");
        service.task_any::<(Thread,)>("http", Anywhere);
        let running = up(service);
        for (name, value) in [("http-loop", "thread"), ("tasks", "http"), ("graph", "true"), ("dry-run", "true")] {
            let error = running.options().set(name, value).unwrap_err().to_string();
            assert_eq!(error, format!("{name} can't be changed while running"));
        }
        assert_eq!(running.options().set("http-most", 2), Ok(Applied::AtRestart));
        assert_eq!(running.stop().code, 0);
    });
}

#[cfg(feature = "logging")]
#[test]
fn what_is_logged_can_be_set_only_where_the_log_is_the_services() {
    watched(|| {
        let mut service = Service::new("test");
        service.task("idle", quiet_resident::<Thread>());
        let running = up(service);
        let error = running.options().set("log-level", "debug").unwrap_err().to_string();
        assert_eq!(error, "log-level can't be changed: the log is not the service's own");
        assert_eq!(running.set_log_levels("debug").unwrap_err().to_string(), error);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn how_long_the_next_stop_may_take_can_be_set() {
    watched(|| {
        let mut service = Service::new("test");
        let stubborn = task_fn::<Thread>(async |cx| {
            cx.ready();
            std::future::pending().await
        });
        service.task("stubborn", stubborn).stop_timeout(HOUR);
        service.set("shutdown-timeout", "1h");
        let running = up(service);
        assert_eq!(running.options().set("shutdown-timeout", "10ms"), Ok(Applied::Now));
        let report = running.stop();
        assert_eq!((report.code, state_of(&report, "stubborn")), (124, State::Cancelled));
    });
}

#[test]
fn a_new_interval_takes_effect_at_once() {
    watched(|| {
        let (mut service, latch) = (Service::new("test"), Latch::default());
        let (done, fetched) = (latch.clone(), mpsc::channel());
        service.task_on::<Thread>("tick", Periodic::new(HOUR, move || done.open()));
        service.task_on::<Thread>("fetch", Poller::new(HOUR, move || Ok(fetched.0.send(()).is_ok())));
        let running = up(service);
        assert_eq!(running.options().set("tick-interval", "1ms"), Ok(Applied::Now));
        latch.wait();
        assert_eq!(fetched.1.recv_timeout(SOON), Ok(()), "the first is at once");
        assert_eq!(running.options().set("fetch-interval", "1ms"), Ok(Applied::Now));
        assert_eq!(fetched.1.recv_timeout(SOON), Ok(()));
        assert_eq!(running.options().set("tick-interval", "0s").unwrap_err().lines().len(), 1);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn the_next_run_of_periodic_work_has_its_new_options_and_the_grid_stays() {
    struct Counts(Arc<AtomicU64>);
    impl<L: EventLoop> Work<L> for Counts {
        type Options = Limits;
        type Output = ();
        async fn run(&mut self, cx: Context<L, Limits>) -> Result {
            self.0.store(cx.options().most, Ordering::Release);
            Ok(())
        }
    }
    watched(|| {
        let (mut service, seen) = (Service::new("test"), Arc::new(AtomicU64::new(0)));
        let work = Periodic::of(HOUR, Counts(seen.clone()));
        let handle = work.handle();
        service.task_on::<Thread>("tick", work);
        let running = up(service);
        for most in [1, 2, 3] {
            assert_eq!(running.options().set("tick-most", most), Ok(Applied::Now));
            assert_eq!(handle.run_now().wait_timeout(SOON), Ok(Ok(())));
            assert_eq!(seen.load(Ordering::Acquire), most);
        }
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn the_settings_of_a_task_show_no_values() {
    let mut service = Service::new("test");
    let settings = service.task("idle", quiet_resident::<Thread>());
    let shown = format!("{:?}", settings.set("token", "hunter2"));
    assert!(shown.contains("token") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_dry_run_checks_and_shows_and_starts_nothing() {
    alone(|| {
        let before = threads();
        let build = |words: &[&str]| {
            let (mut service, _) = tellers(&[("http", true), ("other", false)]);
            service.arguments(["--dry-run"]).arguments(words.iter().copied());
            service
        };
        let shown = build(&["--http-most", "3"]).start().unwrap_err();
        assert_eq!(shown.code(), 0);
        let shown = shown.to_string();
        assert!(shown.contains("\n[http]\nmost = 3 # command line\n# unlimited = false # default\n"), "{shown}");
        assert!(shown.contains("\n[other]\n# most = 1 # default\n"), "{shown}");
        assert_eq!(build(&["--http-most", "3", "--http-unlimited"]).start().unwrap_err().code(), 2);
        let mut wrong = build(&[]);
        wrong.task("last", quiet_resident::<Thread>()).requires("nobody");
        assert_eq!(wrong.start().unwrap_err().code(), 78);
        assert_eq!(threads(), before);
    });
}

/// Reads a number from somewhere, again with each reload.
struct Reader {
    number: Arc<AtomicU64>,
    applied: Arc<AtomicU64>,
}

impl<L: EventLoop> Task<L> for Reader {
    type Options = Limits;

    async fn run(&mut self, cx: Context<L, Limits>) -> Result {
        let (number, applied) = (self.number.clone(), self.applied.clone());
        let read = move || match number.load(Ordering::SeqCst) {
            13 => Err(interloop::Error::new("13 is no number")),
            14 => panic!("14 is too much"),
            number => Ok(number),
        };
        let _reads = cx.on_reload(read, move |number| applied.store(number, Ordering::SeqCst));
        cx.until_shutdown().await;
        Ok(())
    }

    fn check(&self, options: &Limits) -> Result {
        match options.most {
            0 => Err(interloop::Error::new("no more than nothing is nothing")),
            1000 => panic!("a thousand"),
            _ => Ok(()),
        }
    }
}

async fn until_shutdown(cx: Context<Thread>) -> Result {
    cx.until_shutdown().await;
    Ok(())
}

fn reader() -> (Reader, Arc<AtomicU64>, Arc<AtomicU64>) {
    let (number, applied) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(0)));
    (Reader { number: number.clone(), applied: applied.clone() }, number, applied)
}

#[test]
fn what_a_task_has_read_is_read_again_by_a_reload_all_of_it_or_none() {
    watched(|| {
        let mut service = Service::new("test");
        let ((first, one, applied), (second, two, also_applied)) = (reader(), reader());
        service.task_on::<Thread>("first", first);
        service.task_on::<Thread>("second", second);
        let running = up(service);
        let both = || (applied.load(Ordering::SeqCst), also_applied.load(Ordering::SeqCst));
        one.store(7, Ordering::SeqCst);
        for (wrong, why) in
            [(13, "task second: 13 is no number"), (14, "task second: what it reads again panicked: 14 is too much")]
        {
            two.store(wrong, Ordering::SeqCst);
            assert_eq!(running.reload().unwrap_err().lines(), [why]);
            assert_eq!(both(), (0, 0));
        }
        two.store(8, Ordering::SeqCst);
        assert!(running.reload().unwrap().changes().is_empty());
        assert_eq!(both(), (7, 8));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_task_that_has_ended_reads_nothing_again() {
    watched(|| {
        let mut service = Service::new("test");
        let (task, number, _) = reader();
        service.task_on::<Thread>("reader", task);
        service.task("other", task_fn::<Thread>(until_shutdown));
        let running = up(service);
        number.store(13, Ordering::SeqCst);
        assert!(running.reload().is_err());
        let mut watch = running.watch();
        running.stop_task("reader").unwrap();
        reach(&mut watch, "reader", 1, State::Stopped);
        assert!(running.reload().is_ok());
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_task_says_before_the_start_that_its_options_can_not_work() {
    watched(|| {
        let started = |words: &[&str]| {
            let mut service = Service::new("test");
            service.task_on::<Thread>("reader", reader().0);
            service.task("other", task_fn::<Thread>(until_shutdown));
            service.arguments(words.iter().copied());
            service.start()
        };
        for (words, why) in [
            (&["--reader-most", "0"][..], "test: task reader: no more than nothing is nothing"),
            (&["--reader-most", "0", "--dry-run"], "test: task reader: no more than nothing is nothing"),
            (&["--reader-most", "1000"], "test: task reader: its check panicked: a thousand"),
        ] {
            let error = started(words).unwrap_err();
            assert_eq!((error.code(), error.to_string().as_str()), (78, why));
        }
        // It isn't asked if it isn't selected.
        for words in [&["--reader-most", "1"][..], &["--reader-most", "0", "--tasks", "other"]] {
            let running = started(words).unwrap();
            assert!(running.wait_started_timeout(SOON));
            assert_eq!(running.stop().code, 0);
        }
    });
}

#[cfg(feature = "config")]
mod file {
    use std::{fs, path::PathBuf};

    use tempfile::TempDir;

    use super::*;

    fn begun(text: &str) -> (TempDir, PathBuf, Running, mpsc::Receiver<u64>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.toml");
        fs::write(&path, text).unwrap();
        let (mut service, heard) = tellers(&[("http", true), ("other", false)]);
        service.arguments(["--config".into(), path.clone().into_os_string()]);
        (folder, path, up(service), heard)
    }

    #[test]
    fn a_reload_tells_those_who_listen() {
        watched(|| {
            let (_folder, path, running, heard) = begun("[http]\nmost = 2\n");
            let mut first = [heard.recv_timeout(SOON).unwrap(), heard.recv_timeout(SOON).unwrap()];
            first.sort();
            assert_eq!(first, [1, 2]);
            fs::write(&path, "[http]\nmost = 3\n[other]\nmost = 4\n").unwrap();
            let reloaded = running.reload().unwrap();
            assert_eq!(reloaded.to_string(), "http-most: 2 -> 3 (now), other-most: 1 -> 4 (at its next start)");
            assert_eq!(heard.recv_timeout(SOON), Ok(3));
            assert_eq!(running.options().get("http-most").unwrap().origin(), &Origin::File { path, line: 2 });
            assert!(running.reload().unwrap().changes().is_empty());
            assert_eq!(running.stop().code, 0);
            assert!(heard.recv().is_err(), "nobody was told of a reload that changed nothing");
        });
    }

    #[test]
    fn a_reload_with_an_error_changes_nothing() {
        watched(|| {
            let (_folder, path, running, heard) = begun("[http]\nmost = 2\n");
            let before = running.options().list();
            heard.recv_timeout(SOON).unwrap();
            heard.recv_timeout(SOON).unwrap();
            // The first task could take its value.
            fs::write(&path, "[http]\nmost = 3\n[other]\nmost = \"many\"\nunlimited = 2\n").unwrap();
            let error = running.reload().unwrap_err();
            let line = |number: usize| format!("{}:{number}: other.", path.display());
            assert!(error.lines()[0].starts_with(&line(4)) && error.lines()[1].starts_with(&line(5)), "{error}");
            fs::write(&path, "[http]\nmost = 3\n[other]\nmost = 3\nunlimited = true\n").unwrap();
            let error = running.reload().unwrap_err().to_string();
            assert!(error.contains("cannot be used with '--other-unlimited'"), "{error}");
            fs::remove_file(&path).unwrap();
            assert!(running.reload().unwrap_err().to_string().contains("can't be read"));
            assert_eq!(running.options().list(), before);
            assert_eq!(running.stop().code, 0);
            assert!(heard.recv().is_err(), "nobody was told");
        });
    }

    #[test]
    fn all_that_is_wrong_with_a_file_is_in_the_error_of_the_start() {
        watched(|| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("test.toml");
            fs::write(&path, "[http]\nmost = \"x\"\n[other]\nleast = 1\n").unwrap();
            let (mut service, _) = tellers(&[("http", true), ("other", false)]);
            // A task that isn't selected is checked too.
            service.arguments(["--tasks", "http", "--config", path.to_str().unwrap()]);
            let error = service.start().unwrap_err();
            assert_eq!((error.code(), error.to_string().lines().count()), (78, 2));
            let (mut service, _) = tellers(&[("http", true), ("other", false)]);
            fs::write(&path, "[http]\nmost = 1\n[other]\nmost = 1\nunlimited = true\n").unwrap();
            service.arguments(["--tasks", "http", "--config", path.to_str().unwrap()]);
            assert_eq!(service.start().unwrap().stop().code, 0, "what it would refuse when it ran is not asked for");
        });
    }
}
