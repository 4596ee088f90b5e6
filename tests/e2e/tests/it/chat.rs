//! Tests `chat` with all its parts: the window under an X server, a page in a browser, a client in another language,
//! and a desktop that shows notifications.

use std::{
    collections::HashMap,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Instant,
};

use interloop::{Running, Service, Thread};
use interloop_dbus::{Bus, DbusHandle, DbusService};
use interloop_e2e::{Daemon, Display, Example, SOON, Signal, binary, watched};
use zbus::{OwnedVariant, interface};

/// The system's Python: another one in the path has other packages.
const PYTHON: &str = "/usr/bin/python3";
const BUBBLES: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

#[derive(Debug, PartialEq, Eq)]
struct Bubble {
    replaces: u32,
    summary: String,
    body: String,
}

/// The notification service of a desktop.
struct Bubbles(mpsc::Sender<Bubble>);

#[interface(name = "org.freedesktop.Notifications")]
impl Bubbles {
    #[allow(clippy::too_many_arguments, reason = "they are the specification's")]
    fn notify(
        &self,
        app_name: String,
        replaces: u32,
        _app_icon: String,
        summary: String,
        body: String,
        actions: Vec<String>,
        _hints: HashMap<String, OwnedVariant>,
        _expire_timeout: i32,
    ) -> u32 {
        assert_eq!((&*app_name, &*actions[0]), ("chat", "default"));
        let _ = self.0.send(Bubble { replaces, summary, body });
        7
    }
}

struct Desktop {
    running: Running,
    handle: DbusHandle,
    bubbles: mpsc::Receiver<Bubble>,
    daemon: Daemon,
}

impl Desktop {
    fn start() -> Self {
        let daemon = Daemon::start();
        let (send, bubbles) = mpsc::channel();
        let bus = Bus::Address(daemon.address().to_owned());
        let dbus = DbusService::new(BUBBLES).bus(bus).at(PATH, move || Bubbles(send.clone()));
        let handle = dbus.handle();
        let mut service = Service::new("desktop");
        service.task_on::<Thread>("dbus", dbus);
        let running = service.start().expect("it starts");
        assert!(running.wait_started_timeout(SOON), "{}", running.status());
        Self { running, handle, bubbles, daemon }
    }

    fn click(&self, bubble: u32) {
        let connection = self.handle.connection().expect("it is on the bus");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let click = (bubble, "default");
        let signal = connection.emit_signal(None::<&str>, PATH, BUBBLES, "ActionInvoked", &click);
        runtime.block_on(signal).expect("the bus takes it");
    }
}

/// A browser, which ends with this value, including all its processes.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        // It is not reaped yet, so the group still belongs to it.
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

impl Browser {
    fn open(address: SocketAddr, profile: &Path) -> Self {
        let mut command = Command::new("chromium");
        command
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(["--remote-debugging-port=0", &format!("http://{address}/")])
            .env("HOME", profile)
            .process_group(0);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.expect("chromium is there: scripts/setup installs it"))
    }
}

fn start(display: &Display, bus: &str) -> (Example, SocketAddr) {
    let mut command = display.command(binary("chat"));
    command.env("DBUS_SESSION_BUS_ADDRESS", bus);
    let example = Example::run(command.args(["--http-port", "0", "--name", "Grace"]));
    let address = example.address("http");
    example.log("all tasks started");
    (example, address)
}

fn python(script: &str, arguments: &[&str]) -> Example {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    Example::run(Command::new(PYTHON).arg(script).args(arguments))
}

fn client(address: SocketAddr, words: &[&str]) -> Example {
    python("chat_client.py", &[&[&*address.port().to_string()], words].concat())
}

/// Returns the first picture that is drawn.
fn drawn(display: &Display) -> Vec<u8> {
    display.changed_below(0, &vec![0; 640 * 400 * 3])
}

#[test]
fn window_page_and_client_hear_each_other_and_the_desktop_is_told() {
    watched(|| {
        let (display, desktop) = (Display::start(), Desktop::start());
        let (mut chat, address) = start(&display, desktop.daemon.address());
        let window = display.window("Chat: Grace");
        let empty = drawn(&display);

        // The window isn't focused: the keyboard follows the mouse (1: PointerRoot), and that is elsewhere.
        display.run("xdotool", &["mousemove", "639", "399", "windowfocus", "1"]);
        let mut ada = client(address, &["Ada", "hello <b>all</b>"]);
        ada.said(r#"{"kind":"said","name":"Ada","text":"hello <b>all</b>"}"#);
        let bubble = desktop.bubbles.recv_timeout(SOON).expect("the desktop is told");
        let (summary, body) = ("Ada".to_owned(), "hello &lt;b&gt;all&lt;/b&gt;".to_owned());
        assert_eq!(bubble, Bubble { replaces: 0, summary, body });
        let told = display.changed_below(0, &empty);

        // A click on the bubble brings the window up, and gives it the keyboard.
        let focus = || String::from_utf8(display.command("xdotool").arg("getwindowfocus").output().unwrap().stdout);
        assert_ne!(focus().unwrap().trim(), window);
        desktop.click(7);
        let begun = Instant::now();
        while focus().unwrap().trim() != window {
            assert!(begun.elapsed() < SOON, "the window was not brought up; see {}", display.keep().display());
        }
        display.run("xdotool", &["type", "hi from the window"]);
        display.run("xdotool", &["key", "Return"]);
        ada.said(r#"{"kind":"said","name":"Grace","text":"hi from the window"}"#);
        let answered = display.changed_below(0, &told);

        // The messages before she came, and her own: none of them is HTML.
        let profile = tempfile::tempdir().expect("a folder");
        let browser = Browser::open(address, profile.path());
        let profile = profile.path().to_str().expect("a path in UTF-8");
        let page = python("chat_page.py", &[profile, "Eve", "<img src=x>"]);
        page.said("Ada hello <b>all</b>");
        page.said("Grace hi from the window");
        page.said("Eve <img src=x>");
        ada.said(r#"{"kind":"said","name":"Eve","text":"<img src=x>"}"#);
        display.changed_below(0, &answered);

        chat.signal(Signal::INT);
        assert_eq!(chat.wait(), 0);
        page.said("The connection is closed: the server stops");
        assert_eq!(ada.wait(), 0);
        assert_eq!(ada.said("1001"), "1001 the server stops");
        drop(browser);
        // A focused window needs no bubble.
        let more = desktop.bubbles.try_recv();
        assert_eq!(more, Err(mpsc::TryRecvError::Empty));
        assert_eq!(desktop.running.stop().code, 0);
    });
}

#[test]
fn without_a_bus_the_chat_goes_on_and_says_so_once() {
    watched(|| {
        let display = Display::start();
        let (mut chat, address) = start(&display, "unix:path=/nowhere/bus");
        let empty = drawn(&display);
        chat.log("bus: there are no notifications: ");
        let ada = client(address, &["Ada", "hello"]);
        ada.said(r#"{"kind":"said","name":"Ada","text":"hello"}"#);
        display.changed_below(0, &empty);
        chat.signal(Signal::TERM);
        assert_eq!(chat.wait(), 0);
        let log = chat.whole_log();
        assert_eq!(log.matches("there are no notifications").count(), 1, "{log}");
    });
}

#[test]
fn closing_the_window_stops_the_chat() {
    watched(|| {
        let (display, desktop) = (Display::start(), Desktop::start());
        let (mut chat, address) = start(&display, desktop.daemon.address());
        let mut ada = client(address, &["Ada"]);
        ada.said(r#"{"kind":"joined","name":"Ada"}"#);
        display.close(&display.window("Chat: Grace"));
        let code = chat.wait();
        let log = chat.whole_log();
        assert!(code == 0 && log.contains("stopping: last window closed"), "{code}\n{log}");
        assert_eq!(ada.wait(), 0);
        assert_eq!(ada.said("1001"), "1001 the server stops");
    });
}
