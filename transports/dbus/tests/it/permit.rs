//! Access control of a service: callers of other users, and polkit's answers about them. A test that doesn't run as
//! root can't become another user.

use std::{
    collections::HashMap,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use interloop::{Running, Thread, net::Net};
use interloop_dbus::{Bus, DbusService, SERVICE_PATH, zbus};
use zbus::{OwnedVariant, fdo, interface};

use crate::util::{Daemon, Echo, Gate, NAME, PATIENCE, eventually, on_each_loop, said, start};

const ACTION: &str = "org.example.Echo.control";
const NOBODY: u32 = 65534;

on_each_loop! {
    another_user_is_refused_and_may_look
    polkit_decides_about_another_user
    the_daemon_of_the_system_decides_about_another_user
    without_polkit_another_user_is_refused_with_one_line
    a_polkit_that_never_answers_holds_up_nobody
    the_stop_does_not_wait_for_polkit
}

/// Returns whether it can, and reports it if not.
fn can_be_another_user() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("left out: only root can call as another user");
    }
    is_root
}

/// Calls a member of the service's own object.
fn call(daemon: &Daemon, user: Option<u32>, is_interactive: bool, member: &str, args: &[&str]) -> Output {
    let mut command = Command::new("gdbus");
    command.args(["call", "--address", &daemon.address(), "--dest", NAME, "--object-path", SERVICE_PATH]);
    command.args(["--timeout", "15", "--method", &format!("org.interloop.Service.{member}")]).args(args);
    if is_interactive {
        command.arg("--interactive");
    }
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.output().expect("gdbus is installed")
}

fn as_nobody(daemon: &Daemon, member: &str, args: &[&str]) -> String {
    said(&call(daemon, Some(NOBODY), false, member, args))
}

fn service<L: Net>(daemon: &Daemon) -> Running {
    start::<L>(Echo::default().service(daemon).polkit(ACTION))
}

fn another_user_is_refused_and_may_look<L: Net>() {
    if !can_be_another_user() {
        return;
    }
    let daemon = Daemon::for_all();
    let running = start::<L>(Echo::default().service(&daemon));
    assert_eq!(as_nobody(&daemon, "GetOption", &["shutdown-timeout"]), "('25s',)");
    for (member, args) in [("SetOption", &["shutdown-timeout", "7s"][..]), ("Shutdown", &[]), ("Restart", &[])] {
        let answer = as_nobody(&daemon, member, args);
        let refused = "org.freedesktop.DBus.Error.AccessDenied: user 65534 may not control this service";
        assert!(answer.contains(refused), "{member}: {answer}");
    }
    assert_eq!(as_nobody(&daemon, "GetOption", &["shutdown-timeout"]), "('25s',)");
    assert_eq!(as_nobody(&daemon, "ListTasks", &[]), "([('dbus', 'running', uint32 1)],)");
    assert_eq!(said(&call(&daemon, None, false, "Shutdown", &[])), "()");
    assert_eq!(running.join().code, 0);
}

#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Yes,
    No,
    Challenge,
    Never,
}

/// A stand-in for polkit: its prepared answer, and the requests it received.
#[derive(Clone)]
struct Authority {
    verdict: Arc<Mutex<Verdict>>,
    asked: Arc<Mutex<Vec<Question>>>,
    cancelled: Arc<Mutex<Vec<String>>>,
    gate: Arc<Gate>,
}

#[derive(Clone, Debug, PartialEq)]
struct Question {
    subject: String,
    name: String,
    action: String,
    flags: u32,
    cancellation: String,
}

type Answer = (bool, bool, HashMap<String, String>);

#[interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl Authority {
    async fn check_authorization(
        &self,
        subject: (String, HashMap<String, OwnedVariant>),
        action: String,
        _details: HashMap<String, String>,
        flags: u32,
        cancellation: String,
    ) -> fdo::Result<(Answer,)> {
        let name = subject.1.get("name").and_then(|name| String::try_from(name.clone()).ok()).unwrap_or_default();
        self.asked.lock().expect("no panic").push(Question { subject: subject.0, name, action, flags, cancellation });
        let verdict = *self.verdict.lock().expect("no panic");
        match verdict {
            Verdict::Yes => Ok(((true, false, HashMap::new()),)),
            Verdict::No => Ok(((false, false, HashMap::new()),)),
            Verdict::Challenge => Ok(((false, true, HashMap::new()),)),
            // Except when the request is cancelled.
            Verdict::Never => {
                self.gate.pass().await;
                Err(fdo::Error::Failed("cancelled".to_owned()))
            }
        }
    }

    fn cancel_check_authorization(&self, cancellation: String) {
        self.cancelled.lock().expect("no panic").push(cancellation);
        self.gate.open();
    }
}

impl Authority {
    fn start(daemon: &Daemon, verdict: Verdict) -> (Self, Running) {
        let verdict = Arc::new(Mutex::new(verdict));
        let authority = Self { verdict, asked: Arc::default(), cancelled: Arc::default(), gate: Arc::default() };
        let object = authority.clone();
        let dbus = DbusService::new("org.freedesktop.PolicyKit1").bus(Bus::Address(daemon.address()));
        let dbus = dbus.service_object(false).at("/org/freedesktop/PolicyKit1/Authority", move || object.clone());
        (authority, start::<Thread>(dbus))
    }

    fn says(&self, verdict: Verdict) {
        *self.verdict.lock().expect("no panic") = verdict;
    }

    fn asked(&self) -> Vec<Question> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn polkit_decides_about_another_user<L: Net>() {
    if !can_be_another_user() {
        return;
    }
    let daemon = Daemon::for_all();
    let (authority, polkit) = Authority::start(&daemon, Verdict::No);
    let running = service::<L>(&daemon);

    assert_eq!(said(&call(&daemon, None, false, "SetOption", &["shutdown-timeout", "6s"])), "()");
    assert_eq!(as_nobody(&daemon, "GetOption", &["shutdown-timeout"]), "('6s',)");
    assert_eq!(authority.asked(), [], "neither the service's own user nor who only looks is asked about");

    let refused = as_nobody(&daemon, "SetOption", &["shutdown-timeout", "7s"]);
    assert!(refused.contains("AccessDenied: polkit does not permit org.example.Echo.control"), "{refused}");
    let question = authority.asked().pop().expect("it was asked");
    assert_eq!((question.subject.as_str(), question.action.as_str(), question.flags), ("system-bus-name", ACTION, 0));
    assert!(question.name.starts_with(":1."), "{question:?}");

    authority.says(Verdict::Yes);
    assert_eq!(as_nobody(&daemon, "SetOption", &["shutdown-timeout", "7s"]), "()");
    let other = authority.asked().pop().expect("it was asked");
    assert_ne!(other.name, question.name, "each caller is asked about by its own name");
    assert_ne!(other.cancellation, question.cancellation);

    authority.says(Verdict::Challenge);
    let refused = as_nobody(&daemon, "Shutdown", &[]);
    assert!(refused.contains("Error.InteractiveAuthorizationRequired: polkit would have to ask"), "{refused}");
    let refused = said(&call(&daemon, Some(NOBODY), true, "Shutdown", &[]));
    assert!(refused.contains("AccessDenied: polkit does not permit"), "nobody has found the password: {refused}");
    assert_eq!(authority.asked().pop().expect("it was asked").flags, 1, "somebody may be asked");

    authority.says(Verdict::Yes);
    assert_eq!(as_nobody(&daemon, "Shutdown", &[]), "()");
    assert_eq!(running.join().code, 0);
    assert_eq!(polkit.stop().code, 0);
}

/// The system's own polkit, on the test's bus, with the test's actions instead of the system's.
struct Polkit(Child);

const POLKIT: &str = "/usr/lib/polkit-1/polkitd";

impl Polkit {
    /// Returns None, and reports it, if there is no polkit, or the user may not give it other actions.
    fn start(daemon: &Daemon, actions: &Path) -> Option<Self> {
        let may = Command::new("unshare").args(["-m", "test", "-x", POLKIT]).stderr(Stdio::null()).status();
        if !may.is_ok_and(|status| status.success()) {
            eprintln!("left out: polkit can't be started with actions of our own");
            return None;
        }
        // In a mount namespace of its own.
        let run = format!("mount --bind \"$0\" /usr/share/polkit-1/actions && exec {POLKIT} --no-debug");
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &run]).arg(actions).env("DBUS_SYSTEM_BUS_ADDRESS", daemon.address());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Some(Self(command.spawn().expect("there is a shell")))
    }
}

impl Drop for Polkit {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn the_daemon_of_the_system_decides_about_another_user<L: Net>() {
    if !can_be_another_user() {
        return;
    }
    let daemon = Daemon::for_all();
    let actions = tempfile::tempdir().expect("a directory");
    let action = |name: &str, verdict: &str| {
        let defaults =
            ["any", "inactive", "active"].map(|who| format!("<allow_{who}>{verdict}</allow_{who}>")).concat();
        format!(
            r#"<action id="org.example.Echo.{name}"><message>Control it</message><defaults>{defaults}</defaults></action>"#
        )
    };
    let all = [action("control", "yes"), action("never", "no"), action("asked", "auth_admin")].concat();
    std::fs::write(actions.path().join("org.example.Echo.policy"), format!("<policyconfig>{all}</policyconfig>"))
        .expect("the directory takes files");
    // polkit has a user of its own.
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(actions.path(), all).expect("it is ours");
    let Some(_polkit) = Polkit::start(&daemon, actions.path()) else { return };

    let running = service::<L>(&daemon);
    eventually("it is there", || as_nobody(&daemon, "SetOption", &["shutdown-timeout", "7s"]) == "()");
    assert_eq!(as_nobody(&daemon, "GetOption", &["shutdown-timeout"]), "('7s',)");
    assert_eq!(as_nobody(&daemon, "Shutdown", &[]), "()");
    assert_eq!(running.join().code, 0);
    for (action, error) in [
        ("never", "AccessDenied: polkit does not permit org.example.Echo.never"),
        ("asked", "InteractiveAuthorizationRequired: polkit would have to ask somebody about org.example.Echo.asked"),
        ("nothing", "Action org.example.Echo.nothing is not registered"),
    ] {
        let running = start::<L>(Echo::default().service(&daemon).polkit(format!("org.example.Echo.{action}")));
        let refused = as_nobody(&daemon, "Shutdown", &[]);
        assert!(refused.contains(error), "{refused}");
        assert_eq!(said(&call(&daemon, None, false, "SetOption", &["shutdown-timeout", "8s"])), "()", "root may");
        assert_eq!(running.stop().code, 0);
    }
}

fn without_polkit_another_user_is_refused_with_one_line<L: Net>() {
    if !can_be_another_user() {
        return;
    }
    let daemon = Daemon::for_all();
    let running = service::<L>(&daemon);
    let answer = as_nobody(&daemon, "Shutdown", &[]);
    assert!(answer.contains("AccessDenied: polkit can't be asked about org.example.Echo.control: "), "{answer}");
    assert_eq!(answer.lines().count(), 1, "{answer}");
    assert_eq!(running.stop().code, 0);
}

fn a_polkit_that_never_answers_holds_up_nobody<L: Net>() {
    if !can_be_another_user() {
        return;
    }
    let daemon = Arc::new(Daemon::for_all());
    let (authority, polkit) = Authority::start(&daemon, Verdict::Never);
    let running = service::<L>(&daemon);
    let waiting = thread::spawn({
        let daemon = daemon.clone();
        move || as_nobody(&daemon, "Shutdown", &[])
    });
    eventually("polkit is asked", || authority.asked().len() == 1);
    assert_eq!(daemon.say("meanwhile"), "('meanwhile',)");
    assert_eq!(as_nobody(&daemon, "GetOption", &["shutdown-timeout"]), "('25s',)");
    assert_eq!(said(&call(&daemon, None, false, "SetOption", &["shutdown-timeout", "8s"])), "()");
    assert!(!waiting.is_finished());
    let refused = waiting.join().expect("no panic");
    assert!(refused.contains("polkit can't be asked about org.example.Echo.control: no answer within 5s"), "{refused}");
    let cancelled = || authority.cancelled.lock().expect("no panic").clone();
    eventually("the question is taken back", || !cancelled().is_empty());
    assert_eq!(cancelled(), [authority.asked()[0].cancellation.clone()]);
    assert_eq!(running.stop().code, 0);
    assert_eq!(polkit.stop().code, 0);
}

fn the_stop_does_not_wait_for_polkit<L: Net>() {
    if !can_be_another_user() {
        return;
    }
    let daemon = Arc::new(Daemon::for_all());
    let (authority, polkit) = Authority::start(&daemon, Verdict::Never);
    let running = service::<L>(&daemon);
    let waiting = thread::spawn({
        let daemon = daemon.clone();
        // With a person to ask, it might take minutes.
        move || said(&call(&daemon, Some(NOBODY), true, "Restart", &[]))
    });
    eventually("polkit is asked", || authority.asked().len() == 1);
    let begin = Instant::now();
    assert_eq!(running.stop().code, 0);
    assert!(begin.elapsed() < PATIENCE);
    let refused = waiting.join().expect("no panic");
    assert!(refused.contains("polkit can't be asked about org.example.Echo.control: the service stops"), "{refused}");
    assert_eq!(polkit.stop().code, 0);
}
