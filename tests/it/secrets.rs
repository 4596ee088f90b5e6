//! A secret is shown nowhere, wherever it comes from. A separate binary: it captures everything that is logged, at all
//! levels.

use std::{
    fmt::{Debug, Write},
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::util::{SOON, alone};
use interloop::{
    Context, Error, EventLoop, NoOptions, RestartPolicy, Result, Service, ServiceHandle, State, Task, Thread, clap,
    options::Secret, tasks::command::Command,
};
use log::{LevelFilter, Log, Metadata, Record};

/// Part of every secret here.
const MARK: &str = "hunter2";

struct All(Mutex<String>);

static LOG: All = All(Mutex::new(String::new()));

impl Log for All {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(text, "{} {}: {}", record.level(), record.target(), record.args());
    }

    fn flush(&self) {}
}

#[derive(clap::Args, Clone, Debug)]
struct Keys {
    #[arg(long)]
    typed: Secret,
    #[arg(long)]
    set: Secret,
    #[arg(long)]
    filed: Option<Secret>,
    #[arg(long, value_delimiter = ',')]
    several: Vec<Secret>,
    /// With a parser that validates.
    #[arg(long, value_parser = no_blanks, default_value = "hunter2-default")]
    picky: Secret,
}

fn no_blanks(text: &str) -> std::result::Result<Secret, String> {
    if text.contains(' ') { Err(format!("{text:?} has blanks")) } else { Ok(Secret::from(text.to_owned())) }
}

/// Has all of them, shows its values, and fails once, with them at hand.
struct Keeper;

static FAILS: AtomicBool = AtomicBool::new(true);

impl<L: EventLoop> Task<L> for Keeper {
    type Options = Keys;

    async fn run(&mut self, cx: Context<L, Keys>) -> Result {
        let keys = cx.options();
        assert!(keys.typed.expose().contains(MARK) && keys.set.expose().contains(MARK));
        assert!(keys.picky.expose().contains(MARK) && keys.several.iter().all(|key| key.expose().contains(MARK)));
        log::info!(target: cx.target(), "{cx:?} {:?} {}", keys.typed, keys.set);
        cx.export("key", &keys.typed);
        cx.warn("key", &keys.set);
        if FAILS.swap(false, Ordering::Relaxed) {
            return Err(Error::new(format!("{} lets nobody in", keys.typed)));
        }
        cx.ready();
        let login = Command::new("login").arg(keys.typed.expose()).env("TOKEN", keys.set.expose());
        log::info!(target: cx.target(), "{login:?}");
        cx.until_shutdown().await;
        Ok(())
    }
}

struct Idle;

impl<L: EventLoop> Task<L> for Idle {
    type Options = NoOptions;

    async fn run(&mut self, cx: Context<L>) -> Result {
        cx.until_shutdown().await;
        Ok(())
    }
}

/// Everything that has been shown.
#[derive(Default)]
struct Shown(String);

impl Shown {
    fn note(&mut self, what: impl Debug) {
        // Escaped text inside a string must be found all the same.
        let _ = writeln!(self.0, "{what:?} {what:#?}");
    }

    fn note_service(&mut self, service: &ServiceHandle) {
        let status = service.status();
        self.note((service, &status, service.options(), service.options().list(), service.counters()));
        self.note((status.to_string(), service.counters().openmetrics()));
    }
}

fn service(words: &[&str]) -> Service {
    let mut service = Service::new("test");
    service.task_with::<Thread>("keeper", || Keeper).restart(RestartPolicy::on_failure()).set("set", "hunter2-set");
    service.task_on::<Thread>("idle", Idle);
    service.arguments(["--keeper-typed", "hunter2-typed", "--keeper-several", "hunter2-one,hunter2-two"]);
    service.arguments(words);
    service
}

#[test]
fn a_secret_is_shown_nowhere() {
    alone(|| {
        log::set_logger(&LOG).unwrap();
        log::set_max_level(LevelFilter::Trace);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("test.toml");
        fs::write(&file, "[keeper]\nfiled = \"hunter2-filed\"\n").unwrap();
        let config = file.to_str().unwrap();
        let mut shown = Shown::default();

        let unstarted = service(&["--config", config]);
        shown.note(&unstarted);
        shown.note(unstarted.handle());
        let running = unstarted.start().unwrap();
        assert!(running.wait_started_timeout(SOON));
        let mut watch = running.watch();
        running.restart_task("keeper").unwrap();
        while let Some(step) = watch.wait_timeout(SOON) {
            shown.note(&step);
            if &*step.task == "keeper" && step.to == State::Running && step.incarnation > 1 {
                break;
            }
        }
        shown.note_service(&running.handle());
        let options = running.options();
        for name in ["keeper-typed", "keeper-set", "keeper-picky", "keeper-several", "keeper-none"] {
            for value in ["hunter2-new", "hunter2 new"] {
                shown.note(options.set(name, value));
            }
        }
        shown.note_service(&running.handle());
        fs::write(&file, "[keeper]\nfiled = \"hunter2-anew\"\n").unwrap();
        shown.note(running.reload());
        for wrong in ["picky = \"hunter2 bad\"", "picky = hunter2", "picky = \"hunter2", "filed = [[[\"hunter2\"]]]"] {
            fs::write(&file, format!("[keeper]\n{wrong}\n")).unwrap();
            shown.note(running.reload());
        }
        fs::write(&file, "").unwrap();
        shown.note(running.reload());
        shown.note(running.stop());

        fs::write(&file, "[keeper]\nfiled = \"hunter2-filed\"\n").unwrap();
        for words in [
            &["--dry-run"][..],
            &["--help"],
            &["--keeper-picky", "hunter2 bad"],
            &["--keeper-picky=hunter2 bad"],
            &["--keeper-typd=hunter2"],
            &["--keeper-typd", "--idle=hunter2"],
            &["--keeper-typed", "hunter2-twice"],
            &["--keeper-several", "hunter2-three", "--no-such"],
        ] {
            let refused = service(words).start();
            shown.note(refused.map(drop).map_err(|error| format!("{error} {error:?}")));
        }
        shown.0.push_str(&LOG.0.lock().unwrap());
        assert!(shown.0.contains("***") && shown.0.contains("lets nobody in"), "{}", shown.0);
        let leaks: Vec<&str> = shown.0.lines().filter(|line| line.contains(MARK)).collect();
        assert_eq!(leaks, Vec::<&str>::new());
    });
}
