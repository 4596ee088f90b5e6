//! A bus of its own for each test, an object on it, clients, and a watchdog.

// Each test file uses a part of this.
#![allow(dead_code, unreachable_pub, unused_imports, unused_macros)]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::{self, ThreadId},
    time::Duration,
};

use interloop::{Running, Service, ServiceHandle, net::Net};
use interloop_dbus::{DbusService, zbus};
pub use interloop_transport_tests::{PATIENCE, eventually, watchdog};
use tempfile::TempDir;
use zbus::{Connection, fdo, interface};

pub mod wire;

pub const NAME: &str = "org.example.Echo";
pub const PATH: &str = "/org/example/Echo";

/// A private dbus-daemon, which is killed when it is dropped.
pub struct Daemon {
    child: Child,
    dir: TempDir,
}

impl Daemon {
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"))
    }

    /// Starts one that other users can reach too.
    pub fn for_all() -> Self {
        let daemon = Self::start();
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(daemon.dir.path(), all).expect("it is ours");
        daemon
    }

    fn start_in(dir: TempDir) -> Self {
        let config = dir.path().join("bus.conf");
        let text = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
                 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
               <busconfig>
                 <type>session</type>
                 <listen>unix:path={}/bus</listen>
                 <auth>EXTERNAL</auth>
                 <policy context="default">
                   <allow send_destination="*" eavesdrop="true"/>
                   <allow eavesdrop="true"/>
                   <allow own="*"/>
                   <allow user="*"/>
                 </policy>
               </busconfig>"#,
            dir.path().display()
        );
        std::fs::write(&config, text).expect("the directory takes files");
        let _ = std::fs::remove_file(dir.path().join("bus"));
        let mut child = Command::new("dbus-daemon")
            .arg("--config-file")
            .arg(&config)
            .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address"])
            .stdout(Stdio::piped())
            // It may not raise its limits, and complains about that.
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed");
        let mut address = String::new();
        let stdout = child.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut address).expect("it says its address");
        assert!(address.starts_with("unix:path="), "{address}");
        Self { child, dir }
    }

    pub fn address(&self) -> String {
        format!("unix:path={}/bus", self.dir.path().display())
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Starts it again at the same address.
    pub fn start_again(&mut self) {
        self.kill();
        let empty = tempfile::tempdir().expect("a directory");
        let dir = std::mem::replace(&mut self.dir, empty);
        *self = Self::start_in(dir);
    }

    pub fn gdbus(&self, method: &str, args: &[&str]) -> Output {
        self.gdbus_at(NAME, PATH, method, args)
    }

    pub fn gdbus_at(&self, name: &str, path: &str, method: &str, args: &[&str]) -> Output {
        self.gdbus_command(name, path, method, args).output().expect("gdbus is installed")
    }

    pub fn gdbus_command(&self, name: &str, path: &str, method: &str, args: &[&str]) -> Command {
        let mut command = Command::new("gdbus");
        command.args(["call", "--address", &self.address(), "--dest", name, "--object-path", path]);
        command.args(["--method", method]).args(args);
        command
    }

    pub fn say(&self, text: &str) -> String {
        said(&self.gdbus("org.example.Echo.Say", &[text]))
    }

    /// Starts a call by zbus's own client, on a thread.
    pub fn call_later(&self, method: &'static str) -> thread::JoinHandle<Output> {
        let address = self.address();
        thread::spawn(move || {
            let mut command = Command::new("dbus-send");
            command.arg(format!("--bus={address}")).args(["--print-reply", "--reply-timeout=15000"]);
            command.args([&format!("--dest={NAME}"), PATH, method]).output().expect("dbus-send is installed")
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn said(output: &Output) -> String {
    let text = if output.status.success() { &output.stdout } else { &output.stderr };
    String::from_utf8_lossy(text).trim().to_owned()
}

/// Closed until it is opened; counts the waiters.
#[derive(Default)]
pub struct Gate {
    state: Mutex<(bool, Vec<std::task::Waker>)>,
    changed: Condvar,
}

impl Gate {
    pub fn open(&self) {
        let mut state = self.state.lock().expect("no panic");
        state.0 = true;
        let waiting = std::mem::take(&mut state.1);
        self.changed.notify_all();
        drop(state);
        waiting.into_iter().for_each(std::task::Waker::wake);
    }

    pub fn wait_for_one(&self) {
        self.wait_for(1);
    }

    pub fn wait_for(&self, count: usize) {
        let state = self.state.lock().expect("no panic");
        let (_state, time) =
            self.changed.wait_timeout_while(state, PATIENCE, |state| state.1.len() < count).expect("no panic");
        assert!(!time.timed_out(), "nobody came");
    }

    /// Blocks this thread, for a limited time.
    fn block(&self) {
        let mut state = self.state.lock().expect("no panic");
        state.1.push(std::task::Waker::noop().clone());
        self.changed.notify_all();
        drop(self.changed.wait_timeout_while(state, PATIENCE, |state| !state.0).expect("no panic"));
    }

    pub async fn pass(&self) {
        std::future::poll_fn(|poller| {
            let mut state = self.state.lock().expect("no panic");
            if state.0 {
                return std::task::Poll::Ready(());
            }
            state.1.push(poller.waker().clone());
            self.changed.notify_all();
            std::task::Poll::Pending
        })
        .await;
    }
}

#[derive(Clone, Default)]
pub struct Echo {
    pub gate: Arc<Gate>,
    pub forever: Arc<Gate>,
    pub threads: Arc<Mutex<Vec<ThreadId>>>,
    pub count: u32,
}

#[interface(name = "org.example.Echo")]
impl Echo {
    fn say(&self, text: String) -> String {
        self.threads.lock().expect("no panic").push(thread::current().id());
        text
    }

    fn count(&mut self) -> u32 {
        self.count += 1;
        self.count
    }

    async fn wait(&self) -> String {
        self.gate.pass().await;
        "through".to_owned()
    }

    async fn wait_with(&self, text: String) -> String {
        self.gate.pass().await;
        text
    }

    /// Asks another object before it answers.
    async fn relay(&self, text: String, #[zbus(connection)] connection: &Connection) -> fdo::Result<String> {
        let other = "org.example.Other";
        connection.call_method(Some(other), "/", Some(other), "Ask", &()).await?;
        Ok(text)
    }

    async fn forever(&self) {
        self.forever.pass().await;
    }

    fn block(&self) {
        self.gate.block();
    }

    fn crash(&self) -> u32 {
        panic!("as asked")
    }

    fn crash_mut(&mut self) -> u32 {
        panic!("as asked")
    }

    #[zbus(property)]
    fn bad(&self) -> u32 {
        panic!("as asked")
    }
}

impl Echo {
    pub fn service(&self, daemon: &Daemon) -> DbusService {
        self.service_at(&daemon.address())
    }

    pub fn service_at(&self, address: &str) -> DbusService {
        let echo = self.clone();
        DbusService::new(NAME).address(address).at(PATH, move || echo.clone())
    }
}

pub fn start<L: Net>(dbus: DbusService) -> Running {
    let mut service = Service::new("echo");
    service.task_on::<L>("dbus", dbus).stop_timeout(Duration::from_secs(3));
    let running = service.start().expect("it starts");
    assert!(running.handle().wait_started_timeout(PATIENCE), "{:?}", running.handle().status());
    running
}

/// Waits until a counter of the task has this value.
pub fn wait_for_counter(service: &ServiceHandle, name: &str, at_least: u64) {
    let counted = || service.status().tasks[0].counters.get(name).copied().unwrap_or_default();
    eventually(name, || counted() >= at_least);
}

/// Runs the same tests on each loop.
macro_rules! on_each_loop {
    ($($test:ident)*) => {
        on_each_loop!(@ on_thread interloop::Thread; $($test)*);
        on_each_loop!(@ on_glib interloop_glib::Glib; $($test)*);
        on_each_loop!(@ on_tokio interloop_tokio::Tokio; $($test)*);
    };
    (@ $module:ident $loop:ty; $($test:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    interloop_transport_tests::own_process_of_thread(|| {
                        let _watchdog = crate::util::watchdog();
                        super::$test::<$loop>();
                    });
                }
            )*
        }
    };
}
pub(crate) use on_each_loop;
