//! What the plan of a loop sets for its options, and validates before anything starts.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use interloop::{
    Error, EventLoop, RestartPolicy, Result, Service, clap,
    event_loop::{Mailbox, Turn},
    options::{OptionDefaults, Origin, Secret},
    service::StartError,
};

use crate::util::{SOON, quiet_resident, up, watched};

/// A custom loop, with options of all shapes and a builder method for each.
#[derive(Clone, Debug, Default)]
struct Wheel {
    defaults: OptionDefaults,
    /// The options of each incarnation.
    driven: Arc<Mutex<Vec<WheelOptions>>>,
    /// How many incarnations die at once.
    deaths: Arc<AtomicU32>,
    checks: Arc<AtomicU32>,
}

#[derive(clap::Args, Clone, Debug)]
struct WheelOptions {
    /// Turns a second
    #[arg(long, default_value_t = 1)]
    rate: u32,
    /// Says all it does
    #[arg(long)]
    loud: bool,
    /// Its spokes
    #[arg(long, value_delimiter = ',')]
    spoke: Vec<String>,
    /// Opens it
    #[arg(long)]
    key: Option<Secret>,
}

impl Wheel {
    fn with(self, option: &str, value: impl std::fmt::Display) -> Self {
        Self { defaults: self.defaults.with(option, value), ..self }
    }

    fn rate(self, rate: u32) -> Self {
        self.with("rate", rate)
    }

    fn loud(self) -> Self {
        self.with("loud", true)
    }

    fn spoke(self, spoke: &str) -> Self {
        self.with("spoke", spoke)
    }
}

impl EventLoop for Wheel {
    const NAME: &'static str = "wheel";
    type Options = WheelOptions;
    type Native = ();

    fn defaults(&self) -> OptionDefaults {
        self.defaults.clone()
    }

    fn check(&self, options: &WheelOptions) -> Result {
        self.checks.fetch_add(1, Ordering::SeqCst);
        match options.rate {
            0 => Err(Error::new(format!("it must turn, by the key {:?}", options.key.as_ref().map(Secret::expose)))),
            1000 => panic!("too fast"),
            _ => Ok(()),
        }
    }

    fn drive(
        self,
        options: WheelOptions,
        mut mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, ()),
    ) -> Result {
        self.driven.lock().unwrap().push(options);
        let thread = thread::current();
        mailbox.set_notify(move || thread.unpark());
        started(&mailbox, ());
        if self.deaths.load(Ordering::SeqCst) > 0 {
            self.deaths.fetch_sub(1, Ordering::SeqCst);
            return Err(Error::new("the wheel came off"));
        }
        loop {
            match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => {}
                Turn::Idle => thread::park(),
            }
        }
    }
}

/// A service with this wheel, and these words of a command line.
fn with(plan: &Wheel, words: &[&str]) -> Service {
    let mut service = Service::new("test");
    service.event_loop("wheel", plan.clone());
    service.task_with::<Wheel>("idle", quiet_resident::<Wheel>);
    service.arguments(words.iter().copied());
    service
}

fn refused(plan: &Wheel, words: &[&str]) -> StartError {
    with(plan, words).start().map(drop).unwrap_err()
}

fn rates(plan: &Wheel) -> Vec<u32> {
    plan.driven.lock().unwrap().iter().map(|options| options.rate).collect()
}

#[test]
fn what_a_plan_says_reaches_the_loop_with_the_origin_code() {
    watched(|| {
        let plan = Wheel::default().rate(2).rate(60).loud().spoke("oak").spoke("ash");
        let running = up(with(&plan, &[]));
        let shown = running.options();
        let rate = shown.get("wheel-rate").unwrap();
        assert_eq!((rate.value(), rate.origin()), (Some("60"), &Origin::Code));
        assert_eq!(shown.get("wheel-spoke").unwrap().value(), Some("oak,ash"));
        assert_eq!(running.stop().code, 0);
        let driven = plan.driven.lock().unwrap();
        let WheelOptions { rate, loud, spoke, key } = &driven[0];
        assert_eq!((*rate, *loud, spoke.join("+").as_str(), key.is_none()), (60, true, "oak+ash", true));
    });
}

#[test]
fn the_help_and_a_dry_run_show_what_a_plan_says() {
    watched(|| {
        let plan = Wheel::default().rate(60).loud().with("key", "hunter2");
        let help = refused(&plan, &["--help"]);
        assert_eq!(help.code(), 0);
        assert!(help.to_string().contains("Turns a second"), "{help}");
        assert!(help.to_string().contains("[default: 60]"), "{help}");
        assert!(help.to_string().contains("Says all it does [default: true]"), "{help}");
        let shown = refused(&plan, &["--dry-run"]);
        assert_eq!(shown.code(), 0);
        let expected =
            "\n[wheel]\n# rate = 60 # code\n# loud = true # code\n# spoke is not set\n# key = \"***\" # code";
        assert!(shown.to_string().contains(expected), "{shown}");
        let debug = format!("{plan:?}");
        assert!(debug.contains("key") && !debug.contains("hunter2"), "{debug}");
        assert!(rates(&plan).is_empty());
    });
}

#[test]
fn the_command_line_goes_before_an_instance_and_an_instance_before_the_plan() {
    watched(|| {
        let plan = Wheel::default().rate(60);
        assert_eq!(up(with(&plan, &["--wheel-rate", "3"])).stop().code, 0);
        let mut service = Service::new("test");
        service.event_loop("wheel", plan.clone()).set("rate", 4);
        service.task("idle", quiet_resident::<Wheel>());
        assert_eq!(up(service).stop().code, 0);
        // Each instance has its own, under its own name.
        let mut service = Service::new("test");
        service.event_loop("fast", plan.clone().rate(99));
        service.task("idle", quiet_resident::<Wheel>()).on("fast");
        let running = up(service);
        assert_eq!(running.options().get("fast-rate").unwrap().value(), Some("99"));
        assert_eq!(running.stop().code, 0);
        assert_eq!(rates(&plan), [3, 4, 99]);
    });
}

#[test]
fn a_loop_that_is_driven_again_has_them_again() {
    watched(|| {
        let plan = Wheel::default().rate(60);
        plan.deaths.store(2, Ordering::SeqCst);
        let mut service = Service::new("test");
        service.event_loop("wheel", plan.clone()).restart(RestartPolicy::on_failure());
        service.task_with::<Wheel>("idle", quiet_resident::<Wheel>).restart(RestartPolicy::on_failure());
        let running = service.start().unwrap();
        assert!(running.wait_started_timeout(SOON));
        assert_eq!(running.stop().code, 0);
        assert_eq!(rates(&plan), [60, 60, 60]);
        assert_eq!(plan.checks.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_wrong_value_of_a_plan_fails_as_a_wrong_option_does() {
    watched(|| {
        for (plan, why) in [
            (
                Wheel::default().with("rate", "many"),
                "test: loop wheel: option rate, set in code: invalid value 'many' for '--wheel-rate <RATE>': invalid digit \
                 found in string",
            ),
            (
                Wheel::default().with("rat", 3),
                "test: loop wheel has no option rat, which is set in code; did you mean rate?",
            ),
        ] {
            for words in [&[][..], &["--dry-run"], &["--wheel-rate", "3"]] {
                let error = refused(&plan, words);
                assert_eq!((error.code(), error.to_string().as_str()), (78, why), "{words:?}");
            }
        }
    });
}

#[test]
fn a_plan_says_before_the_start_that_its_options_can_not_work() {
    watched(|| {
        for (plan, words, why) in [
            (Wheel::default().rate(0), &[][..], "test: loop wheel: it must turn, by the key None"),
            (Wheel::default(), &["--wheel-rate", "0", "--dry-run"], "test: loop wheel: it must turn, by the key None"),
            (
                Wheel::default().rate(0).with("key", "hunter2"),
                &[],
                "test: loop wheel: it must turn, by the key Some(\"***\")",
            ),
            (Wheel::default(), &["--wheel-rate=1000"], "test: loop wheel: its check panicked: too fast"),
        ] {
            let error = refused(&plan, words);
            assert_eq!((error.code(), error.to_string().as_str()), (78, why));
        }
        // A loop that nothing runs on is not asked.
        let unused = Wheel::default().rate(0);
        let mut service = Service::new("test");
        service.event_loop("unused", unused.clone());
        service.task("idle", quiet_resident::<interloop::Thread>());
        assert_eq!(up(service).stop().code, 0);
        assert_eq!(unused.checks.load(Ordering::SeqCst), 0);
    });
}
