use super::*;
use crate::lifecycle::{LoopId, RestartPolicy};

const SECOND: Duration = Duration::from_secs(1);

fn task(name: &str) -> Declared {
    Declared {
        name: name.to_owned(),
        event_loop: 0,
        requires: Vec::new(),
        after: Vec::new(),
        last: false,
        start_timeout: 30 * SECOND,
        stop_timeout: 10 * SECOND,
        restart: RestartPolicy::never(),
        restartable: false,
    }
}

impl Declared {
    fn on(mut self, event_loop: LoopId) -> Self {
        self.event_loop = event_loop;
        self
    }

    fn requires(mut self, names: &[&str]) -> Self {
        self.requires.extend(names.iter().map(|&name| name.to_owned()));
        self
    }

    fn after(mut self, names: &[&str]) -> Self {
        self.after.extend(names.iter().map(|&name| name.to_owned()));
        self
    }

    fn last(mut self) -> Self {
        self.last = true;
        self
    }

    fn stop_timeout(mut self, seconds: u32) -> Self {
        self.stop_timeout = seconds * SECOND;
        self
    }

    fn restart(mut self, policy: RestartPolicy) -> Self {
        self.restart = policy;
        self
    }

    fn restartable(mut self) -> Self {
        self.restartable = true;
        self
    }
}

fn event_loop(name: &str, kind: &'static str) -> DeclaredLoop {
    let (name, restart) = (name.to_owned(), RestartPolicy::never());
    DeclaredLoop { name, kind, needs_main_thread: false, claims: None, restart, wanted: false }
}

impl DeclaredLoop {
    fn on_main_thread(mut self) -> Self {
        self.needs_main_thread = true;
        self
    }

    fn claiming(mut self, thing: &'static str) -> Self {
        self.claims = Some(thing);
        self
    }

    fn wanted(mut self) -> Self {
        self.wanted = true;
        self
    }

    fn restart(mut self, policy: RestartPolicy) -> Self {
        self.restart = policy;
        self
    }
}

fn tokio() -> DeclaredLoop {
    event_loop("tokio", "tokio")
}

const TIMING: Timing = Timing { drain_delay: Duration::ZERO, shutdown_timeout: Duration::from_secs(25), seed: 7 };

/// Plans all tasks, with tokio as the only loop.
fn planned(tasks: &[Declared]) -> Result<Planned, GraphError> {
    plan(tasks, &[tokio()], None, TIMING)
}

fn selected(tasks: &[Declared], loops: &[DeclaredLoop], names: &[&str]) -> Result<Planned, GraphError> {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    plan(tasks, loops, Some(&names), TIMING)
}

/// Returns the refusal's message, and checks it against the rules for messages.
#[track_caller]
fn refusal(result: Result<Planned, GraphError>) -> String {
    let error = result.expect_err("this should have been refused");
    let text = error.to_string();
    assert!(!text.contains('\n') && !text.ends_with('.') && !text.starts_with(char::is_uppercase), "{text}");
    let code = if matches!(error, GraphError::UnknownSelected { .. }) { 2 } else { 78 };
    assert_eq!(error.exit_code(), code);
    text
}

/// Returns one task for each number: each requires the previous one.
fn long_chain(length: usize) -> Vec<Declared> {
    let link = |n: usize| match n {
        0 => task("t0"),
        n => task(&format!("t{n}")).requires(&[&format!("t{}", n - 1)]),
    };
    (0..length).map(link).collect()
}

mod plans {
    use super::*;

    #[test]
    fn a_plan_has_all_that_was_declared() {
        let policy = RestartPolicy::on_failure();
        let tasks = [
            task("http").requires(&["db"]).after(&["cache"]).on(1).stop_timeout(5),
            task("db").restart(policy.clone()).restartable(),
            task("cache").last(),
        ];
        let timing = Timing { drain_delay: SECOND, ..TIMING };
        let Planned { plan, tasks, loops } =
            plan(&tasks, &[tokio(), event_loop("io2", "tokio")], None, timing).unwrap();
        assert_eq!((tasks, loops), (vec![0, 1, 2], vec![0, 1]));
        assert_eq!((plan.drain_delay, plan.shutdown_timeout, plan.seed), (SECOND, 25 * SECOND, 7));
        assert_eq!(plan.loops.iter().map(|l| &*l.name).collect::<Vec<_>>(), ["tokio", "io2"]);
        let [http, db, cache] = &plan.tasks[..] else { panic!("three tasks") };
        assert_eq!((&*http.name, http.event_loop), ("http", 1));
        assert_eq!((&http.requires[..], &http.after[..]), (&[1][..], &[2][..]));
        assert_eq!((http.start_timeout, http.stop_timeout), (30 * SECOND, 5 * SECOND));
        assert_eq!((&db.restart, db.restartable, db.last), (&policy, true, false));
        assert!(cache.last && !cache.restartable);
    }

    #[test]
    fn nothing_at_all_is_a_plan() {
        let planned = plan(&[], &[], None, TIMING).unwrap();
        assert!(planned.plan.tasks.is_empty() && planned.plan.loops.is_empty());
    }

    #[test]
    fn a_dependency_said_twice_counts_once_and_requires_says_more_than_after() {
        let tasks = [task("db"), task("http").requires(&["db", "db"]).after(&["db"])];
        let plan = planned(&tasks).unwrap().plan;
        assert_eq!((&plan.tasks[1].requires[..], plan.tasks[1].after.len()), (&[0][..], 0));
    }

    #[test]
    fn a_diamond_is_no_cycle() {
        let tasks = [
            task("top").requires(&["left", "right"]),
            task("left").requires(&["bottom"]),
            task("right").after(&["bottom"]),
            task("bottom"),
        ];
        assert!(planned(&tasks).is_ok());
    }

    #[test]
    fn a_normal_task_may_depend_on_a_last_one_and_a_last_one_may_be_after_a_normal_one() {
        let tasks =
            [task("metrics").last(), task("http").requires(&["metrics"]), task("health").after(&["http"]).last()];
        let plan = planned(&tasks).unwrap().plan;
        assert_eq!((&plan.tasks[1].requires[..], &plan.tasks[2].after[..]), (&[0][..], &[1][..]));
    }

    #[test]
    fn ten_thousand_tasks_in_one_chain_are_planned_in_no_time() {
        let mut tasks = long_chain(10_000);
        for _ in 0..2 {
            let planned = planned(&tasks).unwrap();
            assert_eq!(planned.plan.tasks.len(), 10_000);
            assert!(overlong_chain(&planned.plan).is_some());
            tasks.reverse();
        }
        assert_eq!(selected(&tasks, &[tokio()], &["t9999"]).unwrap().tasks.len(), 10_000);
    }
}

mod selections {
    use super::*;

    fn tasks() -> [Declared; 5] {
        [
            task("ui").on(1).requires(&["http"]),
            task("log-shipper"),
            task("http").requires(&["db"]).after(&["log-shipper"]),
            task("db"),
            task("jobs").on(2),
        ]
    }

    fn loops() -> [DeclaredLoop; 3] {
        [tokio(), event_loop("glib", "glib"), event_loop("io2", "tokio")]
    }

    #[test]
    fn a_selection_pulls_in_what_it_requires_near_and_far() {
        let planned = selected(&tasks(), &loops(), &["ui"]).unwrap();
        assert_eq!(planned.tasks, [0, 2, 3]);
        assert_eq!(planned.plan.tasks[0].requires, [1]);
        assert_eq!(planned.plan.tasks[1].requires, [2]);
    }

    #[test]
    fn being_after_what_is_not_selected_is_dropped() {
        let planned = selected(&tasks(), &loops(), &["http"]).unwrap();
        assert_eq!(planned.tasks, [2, 3]);
        assert!(planned.plan.tasks[0].after.is_empty());
        let both = selected(&tasks(), &loops(), &["http", "log-shipper", "http"]).unwrap();
        assert_eq!(both.tasks, [1, 2, 3]);
        assert_eq!(both.plan.tasks[1].after, [0]);
    }

    #[test]
    fn loops_without_a_selected_task_are_left_out_and_the_others_numbered_anew() {
        let planned = selected(&tasks(), &loops(), &["jobs"]).unwrap();
        assert_eq!(planned.loops, [2]);
        assert_eq!((&*planned.plan.loops[0].name, planned.plan.tasks[0].event_loop), ("io2", 0));
    }

    #[test]
    fn a_wanted_loop_is_in_without_a_task() {
        let [tokio, glib, io2] = loops();
        let planned = selected(&tasks(), &[tokio, glib.wanted(), io2], &["jobs"]).unwrap();
        assert_eq!(planned.loops, [1, 2]);
        assert_eq!(planned.plan.tasks[0].event_loop, 1);
    }

    #[test]
    fn an_empty_selection_selects_nothing() {
        assert!(selected(&tasks(), &loops(), &[]).unwrap().tasks.is_empty());
    }

    #[test]
    fn an_unknown_task_in_the_selection_is_the_command_lines_fault() {
        let text = refusal(selected(&tasks(), &loops(), &["http", "htpt"]));
        assert_eq!(text, "there is no task \"htpt\"; did you mean http? Try --list-tasks");
    }

    #[test]
    fn what_is_wrong_with_the_declared_tasks_comes_before_what_is_wrong_with_the_selection() {
        let error = selected(&[task("a").requires(&["b"])], &[tokio()], &["c"]).unwrap_err();
        assert_eq!(error.exit_code(), 78);
    }
}

mod names {
    use super::*;

    #[test]
    fn two_tasks_of_one_name_are_refused() {
        assert_eq!(refusal(planned(&[task("a"), task("b"), task("a")])), "two tasks are named a");
    }

    #[test]
    fn a_name_is_a_lower_case_letter_then_such_letters_digits_and_hyphens() {
        for name in ["", "Http", "1st", "-a", "a_b", "a b", "caf\u{e9}", "\u{e9}", "a\nb", "a.b"] {
            let text = refusal(planned(&[task(name)]));
            assert!(text.starts_with(&format!("task {name:?} can't be named so: a name is")), "{text}");
            let text = refusal(plan(&[], &[event_loop(name, "tokio")], None, TIMING));
            assert!(text.starts_with(&format!("loop {name:?} can't be named so: a name is")), "{text}");
        }
        assert!(planned(&[task("a"), task("a-1"), task("z9-"), task("http2")]).is_ok());
    }

    #[test]
    fn a_task_cannot_have_a_reserved_name_but_a_loop_can() {
        for name in ["config", "dry", "log", "tasks", "list", "drain", "shutdown", "graph", "help", "version"] {
            let text = refusal(planned(&[task(name)]));
            assert!(text.starts_with(&format!("task {name} can't be named so: its options")), "{text}");
            assert!(plan(&[], &[event_loop(name, "tokio")], None, TIMING).is_ok());
        }
        assert!(planned(&[task("log-shipper"), task("configuration")]).is_ok());
    }

    #[test]
    fn two_loops_of_one_name_are_refused_even_unused() {
        let text = refusal(plan(&[], &[tokio(), tokio()], None, TIMING));
        assert_eq!(text, "two tokio loops are named tokio");
        let text = refusal(plan(&[], &[event_loop("io", "tokio"), event_loop("io", "glib")], None, TIMING));
        assert_eq!(text, "two loops are named io: a tokio loop and a glib loop");
    }
}

mod dependencies {
    use super::*;

    #[test]
    fn an_unknown_dependency_is_refused_with_both_names() {
        let text = refusal(planned(&[task("http").requires(&["Db"])]));
        assert_eq!(text, "task http requires \"Db\", but there is no such task");
        let text = refusal(planned(&[task("http").after(&["a\nb"])]));
        assert_eq!(text, "task http is after \"a\\nb\", but there is no such task");
    }

    #[test]
    fn a_task_cannot_depend_on_itself() {
        assert_eq!(refusal(planned(&[task("a").requires(&["a"])])), "task a requires itself");
        assert_eq!(refusal(planned(&[task("a").after(&["a"])])), "task a is after itself");
    }

    #[test]
    fn a_cycle_is_refused_and_shown_without_the_way_to_it() {
        let tasks = [
            task("way").requires(&["a"]),
            task("a").requires(&["b"]),
            task("b").after(&["c"]),
            task("c").after(&["a"]),
        ];
        let text = refusal(planned(&tasks));
        assert_eq!(text, "tasks depend on each other in a circle: a -> b -> c -> a");
    }

    #[test]
    fn a_cycle_of_two_is_found_across_requires_and_after() {
        let text = refusal(planned(&[task("a").requires(&["b"]), task("b").after(&["a"])]));
        assert_eq!(text, "tasks depend on each other in a circle: a -> b -> a");
    }

    #[test]
    fn a_cycle_among_tasks_that_are_not_selected_is_refused_too() {
        let tasks = [task("a").requires(&["b"]), task("b").requires(&["a"]), task("c")];
        assert!(matches!(selected(&tasks, &[tokio()], &["c"]), Err(GraphError::Cycle(_))));
    }

    #[test]
    fn a_cycle_of_ten_thousand_is_found_and_shown_in_short() {
        let mut tasks = long_chain(10_000);
        tasks[0] = task("t0").requires(&["t9999"]);
        let text = refusal(planned(&tasks));
        assert!(text.contains(": t0 -> t9999 -> ") && text.ends_with(" -> t1 -> t0"), "{text}");
        assert!(text.contains(" -> ... 9985 more ... -> "), "{text}");
    }

    #[test]
    fn a_last_task_cannot_require_one_that_is_not() {
        let tasks = [task("health").requires(&["http"]).last(), task("http")];
        assert_eq!(
            refusal(planned(&tasks)),
            "task health stops last, so it can't require http, which stops before it: make http last too, or use `after`"
        );
        assert!(planned(&[task("health").requires(&["metrics"]).last(), task("metrics").last()]).is_ok());
    }
}

mod claims {
    use super::*;

    #[test]
    fn two_loops_cannot_both_have_the_main_thread() {
        let loops = [event_loop("ui", "glib").on_main_thread(), event_loop("mac", "winit").on_main_thread()];
        let tasks = [task("a"), task("b").on(1)];
        let text = refusal(plan(&tasks, &loops, None, TIMING));
        assert_eq!(text, "loops ui and mac both claim the main thread");
        assert!(selected(&tasks, &loops, &["b"]).is_ok());
    }

    #[test]
    fn two_loops_cannot_claim_the_same_thing() {
        const THING: &str = "glib's default main context";
        let loops = [event_loop("ui", "glib").claiming(THING), event_loop("dbus", "glib").claiming(THING)];
        let tasks = [task("a"), task("b").on(1)];
        let text = refusal(plan(&tasks, &loops, None, TIMING));
        assert_eq!(text, "loops ui and dbus both claim glib's default main context");
        assert!(selected(&tasks, &loops, &["a"]).is_ok());
    }

    #[test]
    fn a_wanted_loop_claims_even_without_a_task() {
        let loops = [event_loop("ui", "glib").claiming("it"), event_loop("dbus", "glib").claiming("it").wanted()];
        assert!(matches!(plan(&[task("a")], &loops, None, TIMING), Err(GraphError::Claimed { thing: "it", .. })));
    }

    #[test]
    fn different_claims_get_along() {
        let loops = [
            event_loop("ui", "glib").on_main_thread().claiming("the main thread"),
            event_loop("a", "glib").claiming("a"),
            event_loop("b", "glib").claiming("b"),
        ];
        assert!(plan(&[task("x"), task("y").on(1), task("z").on(2)], &loops, None, TIMING).is_ok());
    }
}

mod restarts {
    use super::*;

    #[test]
    fn a_policy_needs_a_task_that_can_be_made_anew() {
        for policy in [RestartPolicy::on_failure(), RestartPolicy::always(), RestartPolicy::never().with_dependents()] {
            let text = refusal(planned(&[task("http").restart(policy.clone())]));
            assert_eq!(text, "task http has a restart policy, but can't be made anew: use `task_with`");
            assert!(planned(&[task("http").restart(policy).restartable()]).is_ok());
        }
    }

    #[test]
    fn a_loops_policy_needs_tasks_that_can_be_made_anew() {
        let loops = [tokio().restart(RestartPolicy::always()), event_loop("glib", "glib")];
        let text = refusal(plan(&[task("ui").on(1), task("a").restartable(), task("b")], &loops, None, TIMING));
        assert_eq!(
            text,
            "loop tokio has a restart policy, but task b, which is on it, can't be made anew: use `task_with`"
        );
        assert!(plan(&[task("ui").on(1), task("a").restartable()], &loops, None, TIMING).is_ok());
    }

    #[test]
    fn dependents_that_are_restarted_along_must_be_able_to() {
        let db = task("db").restart(RestartPolicy::always().with_dependents()).restartable();
        let text = refusal(planned(&[task("http").requires(&["db"]), db.clone()]));
        assert_eq!(
            text,
            "task db is restarted with its dependents, but task http, which requires it, can't be made anew: use `task_with`"
        );
        assert!(planned(&[task("http").requires(&["db"]).restartable(), db.clone()]).is_ok());
        assert!(planned(&[task("http").after(&["db"]), db]).is_ok());
    }

    #[test]
    fn dependents_of_dependents_are_restarted_along_too() {
        let db = task("db").restart(RestartPolicy::always().with_dependents()).restartable();
        let tasks = [task("ui").requires(&["http"]), task("http").requires(&["db"]).restartable(), db];
        let refused = planned(&tasks).unwrap_err();
        let (task, dependent) = ("db".to_owned(), "ui".to_owned());
        assert_eq!(refused, GraphError::DependentNotRestartable { task, dependent });
    }

    #[test]
    fn dependents_are_left_alone_by_a_policy_that_does_not_ask_for_them() {
        let db = task("db").restart(RestartPolicy::always()).restartable();
        assert!(planned(&[task("http").requires(&["db"]), db]).is_ok());
    }

    #[test]
    fn a_policy_that_cannot_work_is_refused_with_its_owners_name() {
        // More restarts than fit into the window at the longest pause: the limit can't be reached.
        let senseless = RestartPolicy::always().backoff(60 * SECOND, 60 * SECOND).limit(100, SECOND);
        let why = senseless.check().unwrap_err();
        let text = planned(&[task("http").restart(senseless.clone()).restartable()]).unwrap_err().to_string();
        assert_eq!(text, format!("task http: {why}"));
        let text = plan(&[], &[tokio().restart(senseless)], None, TIMING).unwrap_err().to_string();
        assert_eq!(text, format!("loop tokio: {why}"));
    }
}

mod overlong_chains {
    use super::*;

    fn warning(tasks: &[Declared], drain_delay: Duration) -> Option<String> {
        let planned = plan(tasks, &[tokio()], None, Timing { drain_delay, ..TIMING }).unwrap();
        overlong_chain(&planned.plan)
    }

    #[test]
    fn what_fits_is_not_warned_of() {
        let tasks = [task("http").requires(&["db"]).stop_timeout(15), task("db"), task("alone").stop_timeout(25)];
        assert_eq!(warning(&tasks, Duration::ZERO), None);
        assert_eq!(warning(&[], 25 * SECOND), None);
    }

    #[test]
    fn the_longest_chain_is_named_in_the_order_of_the_stop() {
        let tasks = [
            task("db").stop_timeout(9),
            task("cache").stop_timeout(8),
            task("http").requires(&["cache"]).after(&["db"]),
            task("ui").requires(&["http"]).stop_timeout(7),
        ];
        let text = warning(&tasks, Duration::ZERO).unwrap();
        assert_eq!(
            text,
            "a stop may take 26 s, longer than the shutdown timeout of 25 s: ui 7 s -> http 10 s -> db 9 s"
        );
    }

    #[test]
    fn the_drain_delay_and_both_phases_add_up() {
        let tasks = [
            task("metrics").last().stop_timeout(3),
            task("health").requires(&["metrics"]).after(&["http"]).last().stop_timeout(4),
            task("http").requires(&["metrics"]).stop_timeout(15),
        ];
        assert_eq!(warning(&tasks, 3 * SECOND), None);
        let text = warning(&tasks, 3500 * Duration::from_millis(1)).unwrap();
        assert_eq!(
            text,
            "a stop may take 25.5 s, longer than the shutdown timeout of 25 s: \
             drain delay 3.5 s, then http 15 s, then health 4 s -> metrics 3 s"
        );
    }

    #[test]
    fn times_without_an_end_do_not_overflow() {
        let mut endless = [task("http").requires(&["db"]), task("db"), task("health").last()];
        endless.iter_mut().for_each(|task| task.stop_timeout = Duration::MAX);
        let text = warning(&endless, Duration::MAX).unwrap();
        assert!(text.contains(", then health "), "{text}");
    }
}

mod shows {
    use super::*;

    fn tasks() -> [Declared; 3] {
        [
            task("ticker").on(1),
            task("http").requires(&["ticker"]).after(&["health"]),
            task("health").last().requires(&["no-such", "ticker"]),
        ]
    }

    fn loops() -> [DeclaredLoop; 4] {
        let quiet = event_loop("quiet", "mio").wanted();
        [event_loop("io2", "tokio"), event_loop("glib", "glib"), event_loop("unused", "tokio"), quiet]
    }

    #[test]
    fn the_list_has_a_line_a_task() {
        assert_eq!(
            list(&tasks(), &loops()),
            "ticker  glib\n\
             http    io2 (tokio)  requires ticker; after health\n\
             health  io2 (tokio)  requires no-such, ticker; last"
        );
        assert_eq!(list(&[], &loops()), "");
    }

    #[test]
    fn the_graph_has_a_box_a_loop_and_an_arrow_a_dependency() {
        let expected = r#"digraph "side \"by\" side" {
  subgraph cluster_0 {
    label="io2 (tokio)";
    "http";
    "health" [peripheries=2];
  }
  subgraph cluster_1 {
    label="glib";
    "ticker";
  }
  subgraph cluster_3 {
    label="quiet (mio)";
    empty_3 [style=invis];
  }
  "http" -> "ticker";
  "http" -> "health" [style=dashed];
  "health" -> "no-such";
  "health" -> "ticker";
}"#;
        assert_eq!(graphviz(r#"side "by" side"#, &tasks(), &loops()), expected);
    }
}
