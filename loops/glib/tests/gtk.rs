//! GTK on the main thread, which libtest doesn't give its tests: this is a program of its own, that starts itself once more under an Xvfb of its own.

use std::{
    cell::Cell,
    env,
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use glib::ControlFlow;
use gtk4::prelude::*;
use interloop::{Context, NoOptions, Result, Service, State, Task, Thread, task_fn};
use interloop_glib::{Gtk, gtk4};

const NAMES: [&str; 2] = ["closing_the_last_window_stops_the_service", "a_stop_closes_the_windows"];
const CHILD: &str = "INTERLOOP_GTK_TEST";

fn main() -> ExitCode {
    let words = env::args().skip(1).collect::<Vec<_>>();
    if let Ok(name) = env::var(CHILD) {
        return child(&name);
    }
    if words.iter().any(|word| word == "--list") {
        if !words.iter().any(|word| word == "--ignored") {
            NAMES.iter().for_each(|name| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let wanted = words.iter().filter(|word| !word.starts_with('-')).collect::<Vec<_>>();
    let Some((display, _xvfb)) = xvfb() else {
        println!("skipped: no Xvfb");
        return ExitCode::SUCCESS;
    };
    for name in NAMES.iter().filter(|name| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())))
    {
        if let Err(why) = under(&display, name) {
            println!("test {name} ... FAILED: {why}");
            return ExitCode::FAILURE;
        }
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// Ended by its pid when dropped.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn xvfb() -> Option<(String, Killed)> {
    // It picks a free display and says which on its standard output.
    let child = Command::new("Xvfb")
        .args(["-displayfd", "1", "-screen", "0", "640x400x24", "-nolisten", "tcp"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut killed = Killed(child);
    let mut line = String::new();
    BufReader::new(killed.0.stdout.take()?).read_line(&mut line).ok()?;
    let number = line.trim().parse::<u32>().ok()?;
    Some((format!(":{number}"), killed))
}

fn under(display: &str, name: &str) -> std::result::Result<(), String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let child = Command::new(program)
        .env(CHILD, name)
        .env("DISPLAY", display)
        .env("GSK_RENDERER", "cairo")
        .env("GTK_A11Y", "none")
        .env("GDK_BACKEND", "x11")
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut child = Killed(child);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match child.0.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) if Instant::now() > deadline => return Err("it did not end within 30 s".into()),
            // Polling: std can't wait for a child with a timeout.
            Ok(None) => thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn child(name: &str) -> ExitCode {
    let mut service = Service::new("gtk-test");
    let gtk = service.remote_to::<Gtk>();
    service.task("window", Window);
    let closes_itself = name == NAMES[0];
    service
        .task(
            "other",
            task_fn::<Thread>(async move |cx| {
                cx.ready();
                if closes_itself {
                    // What a click on the window's close button does.
                    gtk.call(|gtk| gtk.application().windows().iter().for_each(|window| window.close())).await?;
                } else {
                    cx.service().request_shutdown("enough");
                }
                cx.until_shutdown().await;
                Ok(())
            }),
        )
        .requires("window");
    let handle = service.handle();
    let main = thread::current().id();
    let code = service.run();
    assert_eq!(main, thread::current().id());
    assert_eq!(gtk4::Window::list_toplevels().len(), 0, "windows were left behind");
    let status = handle.status();
    let reason = format!("{status}");
    assert!(status.tasks.iter().all(|task| task.state == State::Stopped), "{reason}");
    let expected = if closes_itself { "last window closed" } else { "enough" };
    assert_eq!(handle.shutdown().reason().map(|reason| reason.to_string()), Some(expected.to_owned()));
    code
}

/// Shows a window that counts: ready once it has been drawn and glib's own timeout has ticked.
struct Window;

impl Task<Gtk> for Window {
    type Options = NoOptions;

    async fn run(&mut self, cx: Context<Gtk>) -> Result {
        let window = gtk4::ApplicationWindow::new(cx.native().application());
        let drawn = Rc::new(Cell::new(0));
        let area = gtk4::DrawingArea::new();
        area.set_draw_func({
            let drawn = drawn.clone();
            move |_, _, _, _| drawn.set(drawn.get() + 1)
        });
        window.set_child(Some(&area));
        window.present();
        let ticks = Rc::new(Cell::new(0));
        glib::timeout_add_local(Duration::from_millis(1), {
            let (area, ticks) = (area.downgrade(), ticks.clone());
            move || {
                ticks.set(ticks.get() + 1);
                area.upgrade().map_or(ControlFlow::Break, |area| {
                    area.queue_draw();
                    ControlFlow::Continue
                })
            }
        });
        while drawn.get() < 3 || ticks.get() < 3 {
            cx.sleep(Duration::from_millis(1)).await;
        }
        cx.until_shutdown().await;
        Ok(())
    }
}
