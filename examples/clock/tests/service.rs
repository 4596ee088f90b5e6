//! Runs the service on a fake clock: a day takes no time.

use std::{io::Write, sync::mpsc, time::Duration};

use interloop::testing::TestService;

const DAY: Duration = Duration::from_secs(86_400);

/// Writes into a channel.
struct Lines(mpsc::Sender<Vec<u8>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn it_ticks_every_second() {
    let (out, printed) = mpsc::channel();
    let mut test = TestService::new(clock::service(Lines(out)));
    let clock = test.fake_clock();
    let test = test.start();
    clock.advance(Duration::from_millis(999));
    assert_eq!(test.counter("tick.iterations"), 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(test.counter("tick.iterations"), 1);
    test.stop().assert_clean();
    let text = String::from_utf8(printed.iter().flatten().collect()).unwrap();
    text.trim_end().parse::<u64>().unwrap();
}

#[test]
fn a_day_has_24_hours() {
    let (out, _printed) = mpsc::channel();
    let mut test = TestService::new(clock::service(Lines(out))).args(["--tick-interval", "1h"]);
    let clock = test.fake_clock();
    let test = test.start();
    clock.advance(DAY);
    assert_eq!(test.counter("tick.iterations"), 24);
    test.stop().assert_clean();
}
