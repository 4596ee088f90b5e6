//! GTK on the main thread, which libtest doesn't give its tests: this is a program of its own, which starts itself once
//! more under an Xvfb of its own.

use std::{
    cell::Cell,
    env,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, ExitCode, Stdio},
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use glib::ControlFlow;
use gtk4::prelude::*;
use interloop::{Context, NoOptions, Result, Running, Service, State, Task, Thread, task_fn};
use interloop_glib::{Gtk, attach, gtk4};
use interloop_http::HttpServer;

const NAMES: [&str; 6] = [
    "closing_the_last_window_stops_the_service",
    "a_stop_closes_the_windows",
    "a_service_lives_inside_of_an_application_that_the_program_runs",
    "a_modal_dialog_of_a_callback_leaves_calls_answered",
    "gtk_serves_http_on_its_own_thread",
    "a_main_loop_of_a_callback_ends_at_the_stop_if_it_listens",
];
const CHILD: &str = "INTERLOOP_GTK_TEST";

fn main() -> ExitCode {
    let words = env::args().skip(1).collect::<Vec<_>>();
    if let Ok(name) = env::var(CHILD) {
        return match NAMES.iter().position(|known| *known == name) {
            Some(number @ 2..=3) => embedded(number == 3),
            Some(4) => serving(),
            Some(5) => modal_at_the_stop(),
            _ => child(&name),
        };
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

/// A process that is ended by its pid when this is dropped.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn xvfb() -> Option<(String, Killed)> {
    // Xvfb picks a free display and prints it on its standard output.
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
            // This polls: std can't wait for a child with a timeout.
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
                    // A click on the window's close button does the same.
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

/// Serves HTTP on the thread that draws: a handler is called there, and the socket's loop is GTK's.
fn serving() -> ExitCode {
    let main = thread::current().id();
    let page = async move || {
        assert_eq!(thread::current().id(), main);
        format!("{} windows", gtk4::Window::list_toplevels().len())
    };
    let router = Router::new().route("/", get(page));
    let mut service = Service::new("gtk-test");
    service.task("window", Window);
    service.task_on::<Gtk>("http", HttpServer::new(router)).requires("window");
    let handle = service.handle();
    let client = task_fn::<Thread>(async move |cx| {
        let address = cx.service().addresses("http")?.iter().find_map(|address| address.tcp()).ok_or("no address")?;
        // One connection, requests one after the other, while the window draws.
        let mut connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        for _ in 0..100 {
            connection.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")?;
            let mut response = Vec::new();
            while !response.ends_with(b"1 windows") {
                let mut bytes = [0; 1024];
                match connection.read(&mut bytes)? {
                    0 => return Err(format!("it ended: {}", String::from_utf8_lossy(&response)).into()),
                    read => response.extend_from_slice(&bytes[..read]),
                }
            }
        }
        cx.service().request_shutdown("served");
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("client", client).requires("http");
    let code = service.run();
    let status = handle.status();
    assert!(status.tasks.iter().all(|task| task.state == State::Stopped), "{status}");
    code
}

/// A callback runs a main loop of its own, for a modal dialog, when the stop comes.
fn modal_at_the_stop() -> ExitCode {
    let mut service = Service::new("gtk-test");
    let window = task_fn::<Gtk>(async |cx| {
        let window = gtk4::ApplicationWindow::new(cx.native().application());
        window.present();
        let (shutdown, handle) = (cx.shutdown(), cx.service().clone());
        // A button's callback would do the same.
        glib::idle_add_local_once(move || {
            let dialog = glib::MainLoop::new(None, false);
            let ends = dialog.clone();
            let at_stop = glib::spawn_future_local(async move {
                shutdown.requested().await;
                ends.quit();
            });
            handle.request_shutdown("enough");
            dialog.run();
            at_stop.abort();
        });
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("window", window);
    let begun = Instant::now();
    let code = service.run();
    assert!(begun.elapsed() < Duration::from_secs(8), "the stop took {:?}", begun.elapsed());
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

/// A GTK program as people write it, with an application of its own.
///
/// It starts a service in `activate`, whose task reaches the windows through a Remote, and stops it after the
/// application's end. With a dialog, the service's calls come while a button's callback waits in a main loop of its
/// own.
fn embedded(with_dialog: bool) -> ExitCode {
    let application = gtk4::Application::new(None::<&str>, gtk4::gio::ApplicationFlags::NON_UNIQUE);
    let running = Rc::new(Cell::new(None::<Running>));
    let attached = Rc::new(Cell::new(None));
    application.connect_activate({
        let (running, attached) = (running.clone(), attached.clone());
        move |application| {
            let label = gtk4::Label::new(Some("0"));
            let window = gtk4::ApplicationWindow::new(application);
            window.set_child(Some(&label));
            window.present();
            let context = glib::MainContext::default();
            let (mailbox, ui) =
                attach(&context, "ui", (window.clone(), label)).expect("this thread drives the context");
            attached.set(Some(mailbox));
            let dialog = glib::MainLoop::new(Some(&context), false);
            let closes = dialog.clone();
            let mut service = Service::new("inside");
            service.task(
                "counter",
                task_fn::<Thread>(async move |cx| {
                    for count in 1..=100 {
                        ui.call(move |(_, label)| label.set_text(&count.to_string())).await?;
                    }
                    assert_eq!(ui.call(|(_, label)| label.text().to_string()).await?, "100");
                    cx.ready();
                    if with_dialog {
                        ui.call(move |_| closes.quit()).await?;
                    }
                    ui.post(|(window, _)| window.close())?;
                    cx.until_shutdown().await;
                    Ok(())
                }),
            );
            running.set(Some(service.start().expect("the configuration works")));
            if with_dialog {
                let modal = gtk4::Window::builder().transient_for(&window).modal(true).build();
                modal.present();
                // A button's callback would do the same: this is a main loop within the application's.
                dialog.run();
                modal.destroy();
            }
        }
    });
    let code = application.run_with_args::<&str>(&[]);
    assert_eq!(code, glib::ExitCode::SUCCESS);
    let report = running.take().expect("it was activated").stop();
    assert_eq!(report.code, 0, "{report}");
    drop(attached.take().expect("it was activated"));
    ExitCode::SUCCESS
}
