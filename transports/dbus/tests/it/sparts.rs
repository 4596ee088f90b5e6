//! The calls of clients of Python's sparts. Debian: python3-dbus, by scripts/setup.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Output},
    thread,
};

use interloop::{Running, Service, Thread, clap, net::Net, options::Secret};
use interloop_dbus::{Bus, DbusService, SERVICE_PATH};
use interloop_fb303::Base;

use crate::util::{Daemon, NAME, PATIENCE, eventually, on_each_loop, said};

/// The system's Python: another one in the path has other packages.
const PYTHON: &str = "/usr/bin/python3";

const SPARTS: &str = "org.sparts.Service";
const FB303: &str = "com.facebook.fb303.Service";
const MORE: &str = "org.sparts.FB303Service";

/// Options of the service's own, of each kind.
#[derive(clap::Args)]
#[allow(dead_code)]
struct Shop {
    #[arg(long, default_value_t = 8)]
    max_price: u16,
    #[arg(long, default_value_t = 1 << 40)]
    big: u64,
    #[arg(long, default_value_t = 0.5)]
    rate: f64,
    #[arg(long)]
    is_open: bool,
    #[arg(long)]
    motto: Option<String>,
    #[arg(long, value_delimiter = ',', default_value = "nuts,bolts")]
    wares: Vec<String>,
    #[arg(long, default_value = "hush")]
    token: Secret,
}

fn shop(service: &mut Service) {
    service.version("1.2.3").options::<Shop>();
}

fn dbus(daemon: &Daemon) -> DbusService {
    DbusService::new(NAME).bus(Bus::Address(daemon.address())).sparts_objects()
}

fn started(service: Service) -> Running {
    let running = service.start().expect("it starts");
    assert!(running.handle().wait_started_timeout(PATIENCE), "{:?}", running.handle().status());
    running
}

fn start<L: Net>(daemon: &Daemon) -> Running {
    let mut service = Service::new("my-shop");
    shop(&mut service);
    service.task_on::<L>("dbus", dbus(daemon));
    started(service)
}

fn ask(daemon: &Daemon, object: &str, interface: &str, member: &str, args: &[&str]) -> String {
    said(&daemon.gdbus_at(NAME, &format!("/my_shop/{object}"), &format!("{interface}.{member}"), args))
}

fn clients_in_python_call_every_member<L: Net>() {
    let daemon = Daemon::start();
    let running = start::<L>(&daemon);
    let mut client = Command::new(PYTHON);
    client.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sparts.py"));
    let output = client.args([&daemon.address(), NAME, "/my_shop"]).output().expect("there is a python3");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{errors}", String::from_utf8_lossy(&output.stdout));
    let report = running.join();
    assert_eq!((report.code, report.reason.to_string().as_str()), (0, "asked to by fb303"));
}

fn gdbus_calls_every_member<L: Net>() {
    let daemon = Daemon::start();
    let running = start::<L>(&daemon);
    let sparts = |member: &str, args: &[&str]| ask(&daemon, "sparts", SPARTS, member, args);
    assert_eq!(sparts("getOption", &["max_price"]), "(<8>,)");
    assert_eq!(sparts("getOption", &["big"]), "(<int64 1099511627776>,)");
    assert_eq!(sparts("setOption", &["max_price", "<uint16 9>"]), "()");
    assert_eq!(sparts("setOption", &["is_open", "<true>"]), "()");
    let options = sparts("getOptions", &[]);
    let has = |entry: &str| options.contains(entry);
    assert!(has("'max_price': <9>") && has("'is_open': <true>") && has("'motto': <'__None__'>"), "{options}");
    assert!(sparts("listOptions", &[]).contains("'max_price'"));
    assert_eq!(sparts("listTasks", &[]), "(['dbus'],)");
    assert!(sparts("uptime", &[]).starts_with("(int64 "));

    let fb303 = |member: &str, args: &[&str]| ask(&daemon, "fb303", FB303, member, args);
    assert_eq!(fb303("getName", &[]), "('my-shop',)");
    assert_eq!(fb303("getVersion", &[]), "('1.2.3',)");
    assert_eq!(fb303("getStatus", &[]), "('ALIVE',)");
    running.handle().warn("stock", "no more nuts");
    assert_eq!(fb303("getStatus", &[]), "('WARNING',)");
    assert_eq!(fb303("getStatusDetails", &[]), "('stock: no more nuts',)");
    assert!(fb303("getCounters", &[]).contains("'dbus.running': 1"));
    assert_eq!(fb303("getCounter", &["dbus.running"]), "(int64 1,)");
    assert_eq!(fb303("setOption", &["motto", "cheap"]), "()");
    assert_eq!(fb303("getOption", &["motto"]), "('cheap',)");
    assert!(fb303("getOptions", &[]).contains("'motto': 'cheap'"));
    let error = if Base::has_profiler() {
        "org.freedesktop.DBus.Error.Failed"
    } else {
        "org.freedesktop.DBus.Error.NotSupported"
    };
    assert!(fb303("getCpuProfile", &["0"]).contains(error));
    assert!(fb303("aliveSince", &[]).starts_with("(int64 "));
    assert_eq!(fb303("reinitialize", &[]), "()");

    let more = |member: &str, args: &[&str]| ask(&daemon, "fb303", MORE, member, args);
    assert_eq!(more("setOptionV", &["rate", "<0.25>"]), "()");
    assert_eq!(fb303("getOption", &["rate"]), "('0.25',)");
    assert!(more("aliveSinceStr", &[]).starts_with("('20"));

    assert!(sparts("getOption", &["nothing"]).contains("InvalidArgs: no option nothing"));
    assert!(sparts("setOption", &["max_price", "<'many'>"]).contains("InvalidArgs"));
    assert_eq!(sparts("shutdown", &[]), "()");
    let report = running.join();
    assert_eq!((report.code, report.reason.to_string().as_str()), (0, "asked over D-Bus"));
}

fn a_reload_does_not_hold_the_loop<L: Net>() {
    let daemon = Daemon::start();
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("shop.toml");
    fs::write(&config, "motto = 'cheap'\n").expect("the folder takes files");
    let mut service = Service::new("my-shop");
    shop(&mut service);
    service.arguments(["--config".as_ref(), config.as_os_str()]);
    service.task_on::<L>("dbus", dbus(&daemon));
    let running = started(service);
    let name = || ask(&daemon, "fb303", FB303, "getName", &[]);
    let motto = || ask(&daemon, "fb303", FB303, "getOption", &["motto"]);
    assert_eq!(motto(), "('cheap',)");

    // The reader waits for the writer.
    fs::remove_file(&config).expect("it is there");
    let made = Command::new("mkfifo").arg(&config).status().expect("mkfifo is there");
    assert!(made.success());
    thread::scope(|threads| {
        let reinitialize = || threads.spawn(|| ask(&daemon, "fb303", FB303, "reinitialize", &[]));
        let reload = |text: &str, meanwhile: &dyn Fn()| {
            let asked = reinitialize();
            let mut file = OpenOptions::new().write(true).open(&config).expect("it is there");
            // It is open: the reload has begun.
            meanwhile();
            file.write_all(text.as_bytes()).expect("it is read");
            drop(file);
            asked.join().expect("no panic")
        };
        assert_eq!(reload("motto = 'dear'\n", &|| assert_eq!(name(), "('my-shop',)")), "()");
        assert_eq!(motto(), "('dear',)");
        let wrong = reload("max-price = 'many'\n", &|| ());
        assert!(wrong.contains("org.freedesktop.DBus.Error.Failed: ") && wrong.contains("'many'"), "{wrong}");
        assert_eq!(motto(), "('dear',)");
    });
    assert_eq!(running.stop().code, 0);
}

fn a_restart_starts_all_tasks_anew<L: Net>() {
    let daemon = Daemon::start();
    let mut service = Service::new("my-shop");
    let address = daemon.address();
    let make = move || DbusService::new(NAME).bus(Bus::Address(address.clone())).sparts_objects();
    service.task_with::<L>("dbus", make);
    let running = started(service);
    assert_eq!(ask(&daemon, "sparts", SPARTS, "restart", &[]), "()");
    eventually("a second incarnation that runs", || {
        let task = &running.handle().status().tasks[0];
        task.incarnation == 2 && task.state == interloop::State::Running
    });
    assert_eq!(ask(&daemon, "fb303", FB303, "getStatus", &[]), "('ALIVE',)");
    assert_eq!(running.stop().code, 0);
}

on_each_loop! {
    clients_in_python_call_every_member
    gdbus_calls_every_member
    a_reload_does_not_hold_the_loop
    a_restart_starts_all_tasks_anew
}

#[test]
fn another_user_may_read_and_change_nothing() {
    let _watchdog = crate::util::watchdog();
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can be another user");
        return;
    }
    let daemon = Daemon::for_all();
    let running = start::<Thread>(&daemon);
    let ask = |object: &str, method: &str, args: &[&str]| -> Output {
        let mut gdbus = daemon.gdbus_command(NAME, &format!("/my_shop/{object}"), method, args);
        gdbus.uid(NOBODY).output().expect("gdbus is installed")
    };
    assert_eq!(said(&ask("sparts", &format!("{SPARTS}.getOption"), &["max_price"])), "(<8>,)");
    assert_eq!(said(&ask("fb303", &format!("{FB303}.getStatus"), &[])), "('ALIVE',)");
    assert!(said(&ask("fb303", &format!("{MORE}.aliveSinceStr"), &[])).starts_with("('20"));
    let writes: [(&str, &str, &str, &[&str]); 8] = [
        ("sparts", SPARTS, "setOption", &["max_price", "<9>"]),
        ("sparts", SPARTS, "restart", &[]),
        ("sparts", SPARTS, "shutdown", &[]),
        ("fb303", FB303, "setOption", &["max_price", "9"]),
        ("fb303", FB303, "getCpuProfile", &["1"]),
        ("fb303", FB303, "reinitialize", &[]),
        ("fb303", FB303, "shutdown", &[]),
        ("fb303", MORE, "setOptionV", &["max_price", "<9>"]),
    ];
    for (object, interface, member, args) in writes {
        let answer = said(&ask(object, &format!("{interface}.{member}"), args));
        assert!(answer.contains("org.freedesktop.DBus.Error.AccessDenied"), "{interface}.{member}: {answer}");
    }
    assert_eq!(said(&ask("sparts", &format!("{SPARTS}.getOption"), &["max_price"])), "(<8>,)");
    assert_eq!(running.handle().status().phase, interloop::service::Phase::Running);
    assert_eq!(running.stop().code, 0);
}

const NOBODY: u32 = 65534;

#[test]
fn the_objects_are_there_when_asked_for_and_by_the_name_that_was_chosen() {
    let _watchdog = crate::util::watchdog();
    let daemon = Daemon::start();
    let plain = || DbusService::new(NAME).bus(Bus::Address(daemon.address()));
    let start = |dbus: DbusService| {
        let mut service = Service::new("my-shop");
        service.task_on::<Thread>("dbus", dbus);
        started(service)
    };
    let name = |path: &str| said(&daemon.gdbus_at(NAME, path, &format!("{FB303}.getName"), &[]));
    let tasks = || said(&daemon.gdbus_at(NAME, SERVICE_PATH, "org.interloop.Service.ListTasks", &[]));

    let running = start(plain());
    assert!(name("/my_shop/fb303").contains("UnknownObject"), "{}", name("/my_shop/fb303"));
    assert_eq!(tasks(), "([('dbus', 'running', uint32 1)],)");
    assert_eq!(running.stop().code, 0);

    let running = start(plain().sparts_objects_as("MyShop").service_object(false));
    assert_eq!(name("/MyShop/fb303"), "('my-shop',)");
    assert!(name("/my_shop/fb303").contains("UnknownObject"));
    assert!(tasks().contains("UnknownObject"));
    assert_eq!(running.stop().code, 0);
}
