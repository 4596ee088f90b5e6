//! `gtk-counter` under a real X server: posts over HTTP, looks at the window, clicks the button.

use std::{
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use interloop_e2e::{Example, SOON, Signal, binary, get, post, watched};

/// An X server without a screen, which ends with this value.
struct Display {
    server: Child,
    name: String,
    folder: tempfile::TempDir,
}

impl Display {
    fn start() -> Self {
        // -displayfd: the server picks a free number, and says it when it is ready.
        let (number, theirs) = std::io::pipe().unwrap();
        let mut command = Command::new("Xvfb");
        command.args(["-displayfd", "1", "-screen", "0", "640x400x24", "-nolisten", "tcp"]);
        let server = command.stdout(OwnedFd::from(theirs)).stderr(Stdio::null()).spawn();
        let server = server.expect("Xvfb is there: scripts/setup installs it");
        drop(command);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(number), &mut line).unwrap();
        Self { server, name: format!(":{}", line.trim()), folder: tempfile::tempdir().unwrap() }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("DISPLAY", &self.name)
            .env("GSK_RENDERER", "cairo")
            .env("GTK_A11Y", "none")
            .env("GDK_BACKEND", "x11");
        command.env_remove("WAYLAND_DISPLAY");
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self.command(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// The pixels of the screen below this line, as a hash would see them.
    fn pixels_below(&self, line: u32) -> Vec<u8> {
        let path = self.folder.path().join("screen.rgb");
        let path = path.to_str().unwrap();
        let crop = format!("640x{}+0+{line}", 400 - line);
        self.run("import", &["-window", "root", "-crop", &crop, "-depth", "8", &format!("rgb:{path}")]);
        std::fs::read(path).unwrap()
    }

    /// Waits until the pixels below this line differ from those, and no longer change.
    fn changed_below(&self, line: u32, before: &[u8]) -> Vec<u8> {
        let begun = Instant::now();
        let mut last = before.to_vec();
        loop {
            let now = self.pixels_below(line);
            if now != before && now == last {
                return now;
            }
            last = now;
            assert!(begun.elapsed() < SOON, "the window was not drawn anew; see {}", self.keep().display());
        }
    }

    /// Keeps a picture for whoever looks into a failure.
    fn keep(&self) -> PathBuf {
        let path = std::env::temp_dir().join("gtk-counter-failed.png");
        let _ = self.command("import").args(["-window", "root"]).arg(&path).status();
        path
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The list begins below the label and the button.
const LIST: u32 = 66;

fn start(display: &Display) -> (Example, std::net::SocketAddr) {
    let mut command = display.command(binary("gtk-counter"));
    let example = Example::run(command.args(["--http-port", "0", "--health-port", "0"]));
    let address = example.address("http");
    example.log("all tasks started");
    (example, address)
}

/// Waits for the window; its id, for xdotool.
fn window(display: &Display) -> String {
    let found = display.run("xdotool", &["search", "--sync", "--onlyvisible", "--name", "gtk-counter"]);
    String::from_utf8(found.stdout).unwrap().lines().next().unwrap().to_owned()
}

#[test]
fn what_is_said_shows_in_the_window_and_clicks_show_on_the_board() {
    watched(|| {
        let display = Display::start();
        let (mut example, address) = start(&display);
        let window = window(&display);
        // The first picture: drawn, with an empty list.
        let black = vec![0; (640 * (400 - LIST) * 3) as usize];
        let empty = display.changed_below(LIST, &black);
        assert_eq!(post(address, "/say", b"hello, window").json()["number"], 1);
        let one = display.changed_below(LIST, &empty);
        assert_eq!(post(address, "/say", b"and again").json()["number"], 2);
        display.changed_below(LIST, &one);

        display.run("xdotool", &["mousemove", "--window", &window, "200", "45", "click", "1"]);
        let begun = Instant::now();
        // The page shows what this board has.
        let page = get(address, "/").body;
        assert!(page.contains("<title>gtk-counter</title>") && page.contains("= board.clicks;"), "{page}");
        assert_eq!(get(address, "/board").json()["messages"][0]["number"], 1);
        while get(address, "/board").json()["clicks"] != 1 {
            assert!(begun.elapsed() < SOON, "the click did not arrive; see {}", display.keep().display());
        }
        example.signal(Signal::INT);
        assert_eq!(example.wait(), 0);
    });
}

#[test]
fn closing_the_window_stops_the_service() {
    watched(|| {
        let display = Display::start();
        let (mut example, _) = start(&display);
        let window = window(&display);
        // There is no window manager with a button for it: the key that closes windows.
        display.run("xdotool", &["windowfocus", "--sync", &window, "key", "ctrl+w"]);
        let code = example.wait();
        let log = example.whole_log();
        assert!(code == 0 && log.contains("stopping: last window closed"), "{code}\n{log}");
    });
}

#[test]
fn without_a_display_the_start_fails() {
    watched(|| {
        let mut command = Command::new(binary("gtk-counter"));
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").args(["--http-port", "0", "--health-port", "0"]);
        let mut example = Example::run(&mut command);
        let code = example.wait();
        let log = example.whole_log();
        assert!(code == 1 && log.contains("can't start GTK"), "{code}\n{log}");
    });
}

#[test]
fn a_blocked_window_is_not_drawn_anew() {
    // The proof that the first test can fail: the same look at a window whose loop is stopped.
    watched(|| {
        let display = Display::start();
        let (example, address) = start(&display);
        window(&display);
        let black = vec![0; (640 * (400 - LIST) * 3) as usize];
        let empty = display.changed_below(LIST, &black);
        example.signal(Signal::STOP);
        // The kernel takes the request; nobody reads it.
        let sender = thread::spawn(move || post(address, "/say", b"hello?").status);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(500) {
            assert_eq!(display.pixels_below(LIST), empty);
        }
        example.signal(Signal::CONT);
        assert_eq!(sender.join().unwrap(), 200);
        display.changed_below(LIST, &empty);
    });
}
