//! A real `systemd --user`, in mount and PID namespaces of its own: when the test ends, everything in it ends.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::SOON;

/// The first process of the namespaces. The manager can't be that: a user's manager isn't PID 1.
const FIRST: &str = "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/system; \
    systemd --user --log-target=console --log-level=info & wait";

/// A user's service manager.
#[derive(Debug)]
pub struct UserManager {
    child: process::Child,
    folder: tempfile::TempDir,
    /// The first process of the namespaces.
    first: String,
}

impl UserManager {
    /// Starts a manager.
    ///
    /// # Panics
    ///
    /// If this machine can't have one, with the reason.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("systemd/user")).expect("a folder");
        let log = fs::File::create(folder.path().join("manager.log")).expect("a file");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private", "sh", "-ec", FIRST])
            .envs(Self::variables(folder.path()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("no `systemd --user` here: {command:?}: {error}"));
        let mut this = Self { child, folder, first: String::new() };
        this.wait_until("it does not come up", |this| {
            let id = this.child.id();
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            this.first = children.trim().to_owned();
            this.folder.path().join("systemd/private").exists()
                && this.systemctl(&["is-system-running"]).status.code() <= Some(1)
        });
        this
    }

    fn variables(folder: &Path) -> [(&'static str, PathBuf); 3] {
        let home = folder.to_owned();
        [("XDG_RUNTIME_DIR", home.clone()), ("XDG_CONFIG_HOME", home.clone()), ("HOME", home)]
    }

    fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            let ended = self.child.try_wait().expect("it is our child").is_some();
            let log = || fs::read_to_string(self.folder.path().join("manager.log")).unwrap_or_default();
            assert!(!ended && begun.elapsed() < SOON, "no `systemd --user` here: {what}: {}", log());
            // No event tells of any of this.
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a program inside.
    pub fn run(&self, command: &[&str]) -> Output {
        let mut inside = Command::new("nsenter");
        inside.args(["-t", &self.first, "-m", "-p", "--"]).args(command).envs(Self::variables(self.folder.path()));
        inside.stdin(Stdio::null()).output().expect("nsenter runs")
    }

    /// Runs `systemctl --user`.
    pub fn systemctl(&self, arguments: &[&str]) -> Output {
        self.run(&[&["systemctl", "--user"], arguments].concat())
    }

    /// Adds a unit of this kind with this section `[Service]`, under a name that no other manager uses: they share the
    /// control groups of the machine.
    pub fn unit(&self, section: &str) -> Unit<'_> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("interloop-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let unit = Unit { manager: self, log: self.folder.path().join(format!("{name}.log")), name };
        let log = unit.log.display();
        let output = format!("StandardOutput=append:{log}\nStandardError=append:{log}\n");
        unit.write("service", &format!("[Service]\n{output}{section}\n"));
        unit
    }
}

impl Drop for UserManager {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "--- manager\n{}",
                fs::read_to_string(self.folder.path().join("manager.log")).unwrap_or_default()
            );
        }
        // Units that are left end with the namespace.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A service of a manager.
#[derive(Debug)]
pub struct Unit<'a> {
    manager: &'a UserManager,
    /// Its name, without the kind.
    pub name: String,
    log: PathBuf,
}

impl Unit<'_> {
    /// Writes a unit file of this kind with this text.
    pub fn write(&self, kind: &str, text: &str) {
        let path = self.manager.folder.path().join(format!("systemd/user/{}.{kind}", self.name));
        fs::write(path, text).expect("a file");
        assert!(self.manager.systemctl(&["daemon-reload"]).status.success());
    }

    /// Starts it; returns the exit code of `systemctl`, and how long that took.
    pub fn start(&self) -> (i32, Duration) {
        self.control("start")
    }

    /// Stops it; returns the same.
    pub fn stop(&self) -> (i32, Duration) {
        self.control("stop")
    }

    /// Runs `systemctl` with this verb.
    pub fn control(&self, verb: &str) -> (i32, Duration) {
        let begun = Instant::now();
        let output = self.manager.systemctl(&[verb, &self.name]);
        (output.status.code().unwrap_or(-1), begun.elapsed())
    }

    /// Returns a property.
    pub fn show(&self, property: &str) -> String {
        let output = self.manager.systemctl(&["show", &self.name, "--value", "-p", property]);
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Waits until a property fits; returns it.
    #[track_caller]
    pub fn wait_for(&self, property: &str, fits: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let value = self.show(property);
            if fits(&value) {
                return value;
            }
            assert!(begun.elapsed() < SOON, "{property} stays {value:?}; its log:\n{}", self.log());
            // systemd could tell, by D-Bus; this has no bus.
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns what it wrote to its outputs.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has written this.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        let begun = Instant::now();
        while !self.log().contains(text) {
            assert!(begun.elapsed() < SOON, "no {text:?} in its log:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns a file of its main process in /proc.
    pub fn proc(&self, file: &str) -> String {
        let pid = self.show("MainPID");
        String::from_utf8_lossy(&self.manager.run(&["sh", "-c", &format!("cat /proc/{pid}/{file}")]).stdout)
            .into_owned()
    }
}

impl Drop for Unit<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- {}\n{}", self.name, self.log());
        }
    }
}
