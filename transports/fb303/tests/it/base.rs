//! fb303's answers about a service, without any transport.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use interloop::{
    Context, Error, NoOptions, RestartPolicy, Result, Service, State, Task, Thread, clap,
    options::Secret,
    task_fn,
    testing::{self, TestService},
};
use interloop_fb303::{Base, FbStatus};

fn waits(name: &str) -> Service {
    let mut service = Service::new("shop");
    let body = task_fn::<Thread>(async |cx| {
        cx.until_shutdown().await;
        Ok(())
    });
    service.task(name, body);
    service
}

#[test]
fn the_status_is_that_of_the_service() {
    let mut service = waits("till");
    service.version("1.2.3");
    let base = Base::new(service.handle());
    assert_eq!((base.status(), base.alive_since(), &*base.version()), (FbStatus::Dead, 0, ""));
    assert_eq!(base.status_details(), "shop has not been started");
    let test = testing::run(service);
    assert_eq!((base.name(), &*base.version()), ("shop", "1.2.3"));
    assert_eq!((base.status(), &*base.status_details()), (FbStatus::Alive, ""));
    test.warn("disk", "91 % full");
    assert_eq!((base.status(), &*base.status_details()), (FbStatus::Warning, "disk: 91 % full"));
    test.clear_warnings();
    assert_eq!(base.status(), FbStatus::Alive);
    base.shutdown();
    test.join().assert_clean();
    assert_eq!((base.status(), &*base.status_details()), (FbStatus::Stopped, "shop has ended"));
}

#[test]
fn a_service_that_starts_and_stops_says_which_task_it_waits_for() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let pass = move || {
        let _ = gate.lock().expect("no panic").recv();
    };
    let mut service = Service::new("shop");
    service.task(
        "till",
        task_fn::<Thread>(async move |cx: Context<Thread>| {
            pass();
            cx.until_shutdown().await;
            pass();
            Ok(())
        }),
    );
    let base = Base::new(service.handle());
    let test = TestService::new(service).launch();
    test.wait_for_state("till", State::Starting);
    assert_eq!((base.status(), &*base.status_details()), (FbStatus::Starting, "task till is starting: start"));
    go.send(()).expect("it waits");
    test.wait_started();
    base.shutdown();
    test.wait_for_state("till", State::Stopping);
    let details = "shop is shutting down: asked to by fb303\ntask till is stopping: asked to stop: asked to by fb303";
    assert_eq!((base.status(), &*base.status_details()), (FbStatus::Stopping, details));
    drop(go);
    test.join().assert_clean();
}

struct Fails;

impl Task<Thread> for Fails {
    type Options = NoOptions;

    async fn run(&mut self, cx: Context<Thread>) -> Result {
        cx.ready();
        cx.sleep(Duration::from_secs(1)).await;
        Err(Error::new("out of change"))
    }
}

#[test]
fn a_task_that_failed_is_a_warning_and_the_end_of_it_death() {
    let mut service = waits("door");
    service.task_with("till", || Fails).restart(RestartPolicy::on_failure().limit(1, Duration::from_secs(3600)));
    let base = Base::new(service.handle());
    let mut test = TestService::new(service);
    let clock = test.fake_clock();
    let test = test.start();
    assert_eq!(base.status(), FbStatus::Alive);
    clock.advance(Duration::from_secs(1));
    test.wait_for_state("till", State::Waiting);
    assert_eq!(base.status(), FbStatus::Warning);
    assert!(base.status_details().starts_with("task till is waiting: restart in "), "{}", base.status_details());
    clock.advance(Duration::from_secs(3600));
    test.join().assert_code(1);
    assert_eq!(base.status(), FbStatus::Dead);
    assert!(base.status_details().contains("task till is failed: out of change"), "{}", base.status_details());
}

#[test]
fn counters_are_whole_numbers_and_those_that_are_none_are_left_out() {
    let service = waits("till");
    let base = Base::new(service.handle());
    let test = testing::run(service);
    let meter = test.meter();
    meter.counter("sales").add(u64::MAX);
    meter.gauge("weight").set(-2.9);
    meter.gauge("nothing").set(f64::NAN);
    meter.histogram("price", &[]).record(7.5);
    test.export("owner", "Eve");
    let counters = base.counters();
    assert_eq!((counters["sales"], counters["weight"]), (i64::MAX, -2));
    assert_eq!((counters["price.count"], counters["price.max"], counters["till.running"]), (1, 7, 1));
    assert!(!counters.contains_key("nothing"));
    let single = |name: &str| base.counter(name).map_err(|why| why.to_string());
    assert_eq!((single("sales"), single("weight"), single("price.max")), (Ok(i64::MAX), Ok(-2), Ok(7)));
    assert_eq!(single("nothing"), Err("no counter nothing".to_owned()));
    assert_eq!(base.exported_value("owner").as_deref(), Ok("Eve"));
    assert_eq!(base.exported_values().len(), 1);
    assert!(base.exported_value("price").is_err());
    test.stop().assert_clean();
}

#[derive(clap::Args)]
struct Wishes {
    #[arg(long, default_value_t = 5)]
    open_tills: u16,
    #[arg(long)]
    motto: Option<String>,
    #[arg(long)]
    pin: Option<Secret>,
}

#[test]
fn options_are_read_and_set_by_the_names_of_both_worlds() {
    let mut service = waits("till");
    service.options::<Wishes>().arguments(["--pin", "1234"]);
    let base = Base::new(service.handle());
    assert!(base.options().is_empty() && base.set_option("motto", "x").is_err());
    let test = testing::run(service);
    let all = base.options();
    assert_eq!((&*all["open-tills"], &*all["motto"], &*all["pin"]), ("5", "__None__", "***"));
    base.set_option("open_tills", "7").expect("it is a number");
    base.set_option("motto", "open_tills").expect("it is a word");
    assert_eq!(base.option("open_tills"), base.option("open-tills"));
    let wishes = test.own_options::<Wishes>().expect("they are its own");
    assert_eq!((wishes.open_tills, wishes.motto.as_deref()), (7, Some("open_tills")));
    assert_eq!(wishes.pin.as_ref().map(Secret::expose), Some("1234"));
    assert!(base.set_option("open-tills", "many").is_err_and(|why| why.to_string().contains("many")));
    assert!(base.set_option("nothing_here", "1").is_err() && base.option("nothing_here").is_err());
    base.set_option("motto", "__None__").expect("it was set");
    assert_eq!(base.option("motto").as_deref(), Ok("__None__"));
    test.stop().assert_clean();
}

#[test]
fn it_is_alive_since_its_start_however_often_it_is_asked() {
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs() as i64;
    let before = seconds();
    let service = waits("till");
    let base = Base::new(service.handle());
    let test = testing::run(service);
    let since = base.alive_since();
    // The system and the service have separate clocks.
    assert!((before - 1..=seconds()).contains(&since), "{before} {since}");
    test.stop().assert_clean();
    assert_eq!(base.clone().alive_since(), since);
}

#[test]
fn it_is_reinitialized_with_what_its_files_say_now() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("shop.toml");
    std::fs::write(&file, "open-tills = 2\n").expect("there is room");
    let mut service = waits("till");
    service.options::<Wishes>().arguments(["--config".as_ref(), file.as_os_str()]);
    let base = Arc::new(Base::new(service.handle()));
    let test = testing::run(service);
    std::fs::write(&file, "open-tills = 3\n").expect("there is room");
    assert_eq!(base.reinitialize().map(|reloaded| reloaded.changes().len()), Ok(1));
    assert_eq!(base.option("open-tills").as_deref(), Ok("3"));
    std::fs::write(&file, "open-tills = 'many'\n").expect("there is room");
    assert!(base.reinitialize().is_err());
    assert_eq!(base.option("open-tills").as_deref(), Ok("3"));
    test.stop().assert_clean();
}

#[test]
fn help_and_dry_run_show_what_the_code_has_set() {
    let service = || {
        let mut service = interloop::Service::new("told");
        service.task_on::<interloop::Thread>("fb303", interloop_fb303::Fb303Server::new().port(8020).allow_control());
        service
    };
    let printed = interloop_transport_tests::printed;
    interloop_transport_tests::shows_what_code_has_set(
        service,
        "fb303",
        &[("port", "8020"), ("allow-control", "true")],
    );
    assert!(printed(service(), "--dry-run").contains("# allow-control = true # code"));
}
