//! An X server for programs with windows, with input and screenshots.

use std::{
    io::{BufRead, BufReader},
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Instant,
};

use crate::SOON;

/// An X server without a screen, which ends with this value.
#[derive(Debug)]
pub struct Display {
    server: Child,
    name: String,
    folder: tempfile::TempDir,
}

impl Display {
    /// Starts an X server on a free number.
    pub fn start() -> Self {
        // -displayfd: the server picks a free number, and reports it when it is ready.
        let (number, theirs) = std::io::pipe().expect("a pipe");
        let mut command = Command::new("Xvfb");
        command.args(["-displayfd", "1", "-screen", "0", "640x400x24", "-nolisten", "tcp"]);
        let server = command.stdout(OwnedFd::from(theirs)).stderr(Stdio::null()).spawn();
        let server = server.expect("Xvfb is there: scripts/setup installs it");
        drop(command);
        let mut line = String::new();
        BufReader::new(number).read_line(&mut line).expect("it says its number");
        Self { server, name: format!(":{}", line.trim()), folder: tempfile::tempdir().expect("a folder") }
    }

    /// Returns a command for a program on it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("DISPLAY", &self.name)
            .env("GSK_RENDERER", "cairo")
            .env("GTK_A11Y", "none")
            .env("GDK_BACKEND", "x11");
        command.env_remove("WAYLAND_DISPLAY");
        command
    }

    /// Runs a program on it, which must succeed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self.command(program).args(arguments).output().expect("scripts/setup installs it");
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Waits for a window with this title; returns its id, for xdotool.
    pub fn window(&self, title: &str) -> String {
        let found = self.run("xdotool", &["search", "--sync", "--onlyvisible", "--name", title]);
        let found = String::from_utf8(found.stdout).expect("numbers");
        found.lines().next().expect("it waits until there is one").to_owned()
    }

    /// Closes a window by its key: there is no window manager with a button for it.
    pub fn close(&self, window: &str) {
        self.run("xdotool", &["windowfocus", "--sync", window, "key", "ctrl+w"]);
    }

    /// Returns the pixels of the screen below this line, to be compared.
    pub fn pixels_below(&self, line: u32) -> Vec<u8> {
        let path = self.folder.path().join("screen.rgb");
        let path = path.to_str().expect("a path in UTF-8");
        let crop = format!("640x{}+0+{line}", 400 - line);
        self.run("import", &["-window", "root", "-crop", &crop, "-depth", "8", &format!("rgb:{path}")]);
        std::fs::read(path).expect("the picture is there")
    }

    /// Waits until the pixels below this line differ from those, and no longer change.
    pub fn changed_below(&self, line: u32, before: &[u8]) -> Vec<u8> {
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

    /// Keeps a screenshot for the analysis of a failure.
    pub fn keep(&self) -> PathBuf {
        let path = std::env::temp_dir().join("interloop-e2e-failed.png");
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
