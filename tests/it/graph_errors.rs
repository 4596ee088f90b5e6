//! Invalid configurations: one line that names the cause, before any thread starts.

use std::time::Duration;

use crate::util::{Mortal, SOON, alone, descriptors, quiet_resident, threads, warned, warnings, watched};
use interloop::{
    Context, EventLoop, NoOptions, RestartPolicy, Result, Service, Task, Thread, clap,
    event_loop::Mailbox,
    service::{Phase, StartError},
};
use interloop_own_process::is_own_process;

/// Returns its code and the message; checks that nothing was started.
fn refused(build: impl FnOnce(&mut Service)) -> (u8, String) {
    watched(|| {
        let mut service = Service::new("test");
        let (_slot, remote) = service.slot::<u8>("number");
        build(&mut service);
        let before = (threads(), descriptors());
        let handle = service.handle();
        let refused: StartError = service.start().map(drop).expect_err("it can't work");
        if is_own_process() {
            assert_eq!((threads(), descriptors()), before);
        }
        assert_eq!((handle.status().tasks.len(), handle.phase()), (0, Phase::Ended));
        assert!(!handle.wait_started_timeout(SOON));
        assert!(handle.watch().wait_timeout(SOON).is_none());
        assert!(remote.post(|_| ()).is_err());
        let text = refused.to_string();
        assert!(!text.contains('\n'), "{text}");
        (refused.code(), text)
    })
}

fn idle() -> impl Task<Thread, Options = NoOptions> {
    quiet_resident::<Thread>()
}

#[test]
fn a_dependency_that_is_not_there() {
    let refusal = refused(|service| {
        service.task("http", idle()).requires("databse");
        service.task("database", idle());
    });
    assert_eq!(
        refusal,
        (78, "test: task http requires \"databse\", but there is no such task; did you mean database?".into())
    );
    let refusal = refused(|service| _ = service.task("http", idle()).after("cache"));
    assert_eq!(refusal, (78, "test: task http is after \"cache\", but there is no such task".into()));
}

#[test]
fn two_tasks_of_one_name() {
    let (code, text) = refused(|service| {
        service.event_loop("io", Thread);
        service.task("http", idle()).on("io");
        service.task("http", idle()).on("io");
    });
    assert_eq!(code, 78);
    assert!(text.contains("http"), "{text}");
}

#[test]
fn two_loops_of_one_name() {
    let refusal = refused(|service| {
        service.event_loop("io", Thread);
        service.event_loop("io", Mortal::default());
    });
    assert_eq!(refusal.0, 78);
    assert!(refusal.1.contains("two loops") && refusal.1.contains("io"), "{}", refusal.1);
}

#[test]
fn a_slot_and_a_loop_of_one_name() {
    for slot_first in [true, false] {
        let (code, text) = refused(|service| {
            if slot_first {
                drop(service.slot::<u8>("io"));
                service.event_loop("io", Thread);
            } else {
                service.event_loop("io", Thread);
                drop(service.slot::<u8>("io"));
            }
        });
        assert_eq!(code, 78);
        assert!(text.contains("slot") && text.contains("named io"), "{text}");
    }
}

#[test]
fn tasks_that_wait_for_each_other() {
    let (code, text) = refused(|service| {
        service.task("a", idle()).requires("b");
        service.task("b", idle()).after("c");
        service.task("c", idle()).requires("a");
    });
    assert_eq!((code, &*text), (78, "test: tasks depend on each other in a circle: a -> b -> c -> a"));
    let (code, text) = refused(|service| _ = service.task("a", idle()).requires("a"));
    assert_eq!((code, &*text), (78, "test: task a requires itself"));
}

#[test]
fn a_last_task_that_requires_an_ordinary_one() {
    let (code, text) = refused(|service| {
        service.task("db", idle());
        service.task("health", idle()).last().requires("db");
    });
    assert_eq!(code, 78);
    assert!(text.contains("health") && text.contains("db"), "{text}");
}

/// A loop that wants the main thread.
#[derive(Clone, Default)]
struct Main;

impl EventLoop for Main {
    const NAME: &'static str = "main";
    type Options = NoOptions;
    type Native = ();

    fn needs_main_thread(&self) -> bool {
        true
    }

    fn drive(self, _: NoOptions, _: Mailbox<Self>, _: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        unreachable!("it never starts")
    }
}

#[test]
fn two_loops_that_claim_the_main_thread() {
    let (code, text) = refused(|service| {
        service.event_loop("window", Main);
        service.event_loop("canvas", Main);
        service.task("one", quiet_resident::<Main>()).on("window");
        service.task("two", quiet_resident::<Main>()).on("canvas");
    });
    assert_eq!((code, &*text), (78, "test: loops window and canvas both claim the main thread"));
}

#[test]
fn a_loop_that_claims_the_main_thread_in_a_service_that_does_not_have_it() {
    let (code, text) = refused(|service| _ = service.task("window", quiet_resident::<Main>()));
    assert_eq!(code, 78);
    assert!(text.contains("needs the main thread"), "{text}");
}

/// A loop that claims something process-wide, by name.
#[derive(Clone, Default)]
struct Claimant;

impl EventLoop for Claimant {
    const NAME: &'static str = "claimant";
    type Options = NoOptions;
    type Native = ();

    fn claims(&self) -> Option<&'static str> {
        Some("the default context")
    }

    fn drive(self, _: NoOptions, _: Mailbox<Self>, _: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        unreachable!("it never starts")
    }
}

#[test]
fn two_loops_that_claim_the_same_thing() {
    let (code, text) = refused(|service| {
        service.event_loop("first", Claimant).remote();
        service.event_loop("second", Claimant).remote();
    });
    assert_eq!((code, &*text), (78, "test: loops first and second both claim the default context"));
}

#[derive(clap::Args)]
struct Port {
    #[arg(long = "port")]
    _port: Option<u16>,
}

#[derive(clap::Args)]
struct AdminPort {
    #[arg(long = "admin-port")]
    _port: Option<u16>,
}

macro_rules! task_with_options {
    ($($name:ident: $options:ty),+) => {$(
        struct $name;

        impl Task<Thread> for $name {
            type Options = $options;

            async fn run(&mut self, _: Context<Thread, $options>) -> Result {
                Ok(())
            }
        }
    )+};
}

task_with_options!(WithPort: Port, WithAdminPort: AdminPort);

#[test]
fn flags_that_would_mean_two_things() {
    let (code, text) = refused(|service| {
        service.task("http-admin", WithPort);
        service.task("http", WithAdminPort);
    });
    assert_eq!(code, 78);
    assert!(
        text.contains("--http-admin-port") && text.contains("task http-admin") && text.contains("task http"),
        "{text}"
    );
}

#[test]
fn a_value_set_in_code_that_does_not_fit() {
    let (code, text) = refused(|service| _ = service.task("http", WithPort).set("port", "many"));
    assert_eq!(code, 78);
    assert!(text.contains("port") && text.contains("many"), "{text}");
    let (code, text) = refused(|service| _ = service.task("http", WithPort).set("prot", 80));
    assert_eq!(code, 78);
    assert!(text.contains("prot"), "{text}");
}

#[test]
fn words_of_the_command_line_that_mean_nothing() {
    for words in [["--http-prot", "80"], ["--http-port", "many"]] {
        let (code, text) = refused(|service| {
            service.task("http", WithPort);
            service.arguments(words);
        });
        assert_eq!(code, 2);
        assert!(text.contains(words[0]), "{text}");
    }
}

#[test]
fn a_task_on_a_loop_of_another_kind() {
    let (code, text) = refused(|service| {
        service.event_loop("io", Mortal::default());
        service.task("http", idle()).on("io");
    });
    assert_eq!((code, &*text), (78, "test: task http runs on a thread loop, but loop io is a mortal loop"));
}

#[test]
fn a_task_on_a_loop_that_is_not_there() {
    let (code, text) = refused(|service| {
        service.event_loop("events", Thread);
        service.task("http", idle()).on("evnets");
        service.task("db", idle());
        service.task("rider", quiet_resident::<Mortal>());
    });
    let said = "test: task http is to run on loop \"evnets\", but there is no such loop; there is db, events, mortal; \
                did you mean events?";
    assert_eq!((code, &*text), (78, said));
    // Neither has a thread of its own that the other could share.
    let (code, text) = refused(|service| {
        service.task("one", idle()).on("two");
        service.task("two", idle()).on("one");
    });
    assert_eq!(code, 78);
    assert!(text.starts_with("test: task one is to run on loop \"two\", but there is no such loop"), "{text}");
    // A kind of loop that no task runs on.
    let (code, text) = refused(|service| _ = service.task("http", idle()).on("mortal"));
    assert_eq!((code, text.contains("there is none")), (78, true), "{text}");
}

#[test]
fn a_task_is_put_on_the_default_loop_of_another() {
    watched(|| {
        let mut service = Service::new("test");
        service.event_loop("wheel", Mortal::default());
        service.task("a", idle()).on("b");
        service.task("b", idle());
        service.task("c", idle()).on("c");
        service.task("d", quiet_resident::<Mortal>()).on("mortal");
        service.task("e", quiet_resident::<Mortal>()).on("wheel");
        let running = crate::util::up(service);
        let loops = running.status().tasks.into_iter().map(|task| task.event_loop).collect::<Vec<_>>();
        assert_eq!(loops, ["b", "b", "c", "mortal", "wheel"]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_policy_for_a_task_that_cannot_be_made_anew() {
    let (code, text) = refused(|service| _ = service.task("http", idle()).restart(RestartPolicy::always()));
    let said = "test: task http has a restart policy, but can't be made anew: use `task_with`";
    assert_eq!((code, &*text), (78, said));
    let (code, text) = refused(|service| {
        service.event_loop("io", Thread).restart(RestartPolicy::on_failure());
        service.task("http", idle()).on("io");
    });
    assert_eq!(code, 78);
    assert!(text.contains("loop io") && text.contains("task http"), "{text}");
    let (code, text) = refused(|service| {
        service.task_with("db", idle).restart(RestartPolicy::on_failure().with_dependents());
        service.task("http", idle()).requires("db");
    });
    assert_eq!(code, 78);
    assert!(text.contains("task db") && text.contains("task http"), "{text}");
}

#[test]
fn a_policy_whose_limit_cannot_be_hit() {
    let (code, text) = refused(|service| {
        let policy = RestartPolicy::on_failure().backoff(Duration::from_secs(10), Duration::from_secs(10));
        service.task_with("http", idle).restart(policy.limit(10, Duration::from_secs(60)));
    });
    assert_eq!(code, 78);
    assert!(text.contains("task http") && text.contains("limit"), "{text}");
}

#[test]
fn names_that_are_reserved_or_ill_formed() {
    for name in ["config", "log", "tasks", "list", "drain", "shutdown", "graph", "help", "version"] {
        let (code, text) = refused(|service| _ = service.task(name, idle()));
        assert_eq!(code, 78);
        assert!(text.contains(name), "{text}");
    }
    for name in ["", "Http", "http server", "1st", "häuser", "a\nb"] {
        let (code, text) = refused(|service| _ = service.task(name, idle()));
        assert_eq!(code, 78);
        assert!(text.contains(&format!("{name:?}")), "{text}");
    }
}

#[test]
fn an_unknown_name_in_the_selection() {
    let (code, text) = refused(|service| {
        service.task("http", idle());
        service.arguments(["--tasks", "http,htpt"]);
    });
    assert_eq!((code, &*text), (2, "test: there is no task \"htpt\"; did you mean http? Try --list-tasks"));
}

#[test]
fn what_was_asked_for_instead_is_no_error() {
    watched(|| {
        for (word, said) in [("--list-tasks", "http  http"), ("--graph", "digraph"), ("--help", "--http-port")] {
            let mut service = Service::new("test");
            service.task("http", WithPort);
            service.arguments([word]);
            let asked = service.start().map(drop).unwrap_err();
            assert_eq!(asked.code(), 0);
            assert!(asked.to_string().contains(said), "{asked}");
        }
    });
}

#[test]
fn a_loop_that_was_planned_and_has_no_task_is_named_at_the_start() {
    alone(|| {
        warnings();
        let mut service = Service::new("test");
        service.event_loop("ui-loop", Mortal::default());
        service.task("window", quiet_resident::<Mortal>());
        // These are no mistakes: one has a remote, one a task, and one may be chosen by an option.
        service.event_loop("called", Mortal::default()).remote();
        service.event_loop("wheel", Mortal::default());
        service.task("turns", quiet_resident::<Mortal>()).on("wheel");
        service.event_loop("thread", Thread);
        let running = crate::util::up(service);
        assert_eq!(running.stop().code, 0);
        let said = "WARN test: loop ui-loop has no task and no remote, so it does not run; \
            task window is on loop mortal; `.on(\"ui-loop\")` puts a task on it, \
            and the name \"mortal\" makes it the default of its kind";
        assert_eq!(warned(), [said]);
    });
}
