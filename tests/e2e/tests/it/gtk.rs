//! Tests `gtk-counter` under a real X server: posts over HTTP, looks at the window, clicks the button.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use interloop_e2e::{Display, Example, SOON, Signal, binary, get, post, watched};

/// The list begins below the label and the button.
const LIST: u32 = 66;

fn start(display: &Display) -> (Example, std::net::SocketAddr) {
    let mut command = display.command(binary("gtk-counter"));
    let example = Example::run(command.args(["--http-port", "0", "--health-port", "0"]));
    let address = example.address("http");
    example.log("all tasks started");
    (example, address)
}

fn window(display: &Display) -> String {
    display.window("gtk-counter")
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
        // The page shows the data of this board.
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
        display.close(&window(&display));
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
    // The proof that the first test can fail: the same check on a window whose loop is stopped.
    watched(|| {
        let display = Display::start();
        let (example, address) = start(&display);
        window(&display);
        let black = vec![0; (640 * (400 - LIST) * 3) as usize];
        let empty = display.changed_below(LIST, &black);
        example.signal(Signal::STOP);
        // The kernel accepts the request; nobody reads it.
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
