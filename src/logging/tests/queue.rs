//! Lines on their way to a sink that is slow, stuck, full or gone.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Condvar, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::logging::queue::LINGER;

/// A sink that takes nothing until it is opened, and then follows its script.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Gated>, Condvar)>);

#[derive(Default)]
struct Gated {
    is_open: bool,
    taken: Vec<u8>,
    /// The results of the next writes: an error, or a maximum number of bytes.
    script: VecDeque<io::Result<usize>>,
}

impl Output for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut gated = self.0.0.lock().unwrap();
        let most = gated.script.pop_front().unwrap_or(Ok(usize::MAX))?;
        let bytes = &bytes[..most.min(bytes.len())];
        gated.taken.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn wait(&self, timeout: Option<Duration>) -> bool {
        let gated = self.0.0.lock().unwrap();
        match timeout {
            Some(_) => gated.is_open,
            None => self.0.1.wait_while(gated, |gated| !gated.is_open).unwrap().is_open,
        }
    }
}

impl Gate {
    fn open(&self) {
        self.0.0.lock().unwrap().is_open = true;
        self.0.1.notify_all();
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().taken.clone()).unwrap()
    }
}

struct Rig {
    logger: Arc<dyn Log>,
    queue: Arc<Queue>,
    gate: Gate,
}

fn rig() -> Rig {
    rig_that_lingers(LINGER)
}

fn rig_that_lingers(linger: Duration) -> Rig {
    let gate = Gate::default();
    let filter = Arc::new(Filter::new("hello".to_owned(), levels("info")));
    let sink = Sink::new(gate.clone(), Surroundings::Plain);
    let (queue, style) =
        (Arc::new(Queue::with_linger(sink.patience(), linger)), Style::new(Format::Classic, Surroundings::Plain));
    let logger = assemble(filter.clone(), style, queue.clone()).into();
    Writer { queue: queue.clone(), sink, style, filter, unwritten: None }.start().unwrap();
    Rig { logger, queue, gate }
}

fn open_rig(script: impl IntoIterator<Item = io::Result<usize>>) -> Rig {
    let rig = rig();
    rig.gate.0.0.lock().unwrap().script.extend(script);
    rig.gate.open();
    rig
}

impl Rig {
    fn say(&self, message: impl fmt::Display) {
        say(&*self.logger, message);
    }

    fn lost(&self) -> u64 {
        self.queue.lost().load(Ordering::Relaxed)
    }

    /// Returns all lines, once they are there.
    fn lines(&self) -> Vec<String> {
        self.logger.flush();
        self.gate.text().lines().map(str::to_owned).collect()
    }
}

fn say(logger: &dyn Log, message: impl fmt::Display) {
    logger.log(&Record::builder().level(Level::Info).target("hello").args(format_args!("{message}")).build());
}

/// Returns the sum of the losses that the log reports.
fn told(lines: &[String]) -> u64 {
    let lost = lines.iter().filter_map(|line| line.strip_prefix("WARN:hello:"));
    lost.map(|line| line.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        thread::yield_now();
    }
}

#[test]
fn a_writer_that_lingers_is_woken_by_whoever_cannot_wait() {
    // Forever, as far as this test goes.
    let rig = rig_that_lingers(Duration::from_secs(600));
    rig.gate.open();
    let lingers = || until("it lingers", || rig.queue.writer().0);
    until("it rests", || rig.queue.writer().1);
    rig.say("one");
    lingers();
    assert_eq!(rig.gate.text(), "INFO:hello:one\n");
    rig.say("two");
    assert!(rig.queue.writer().0 && !rig.gate.text().contains("two"));
    rig.logger.flush();
    assert!(rig.gate.text().contains("two"));
    lingers();
    rig.say("three");
    rig.queue.flush_at_end(3);
    assert!(rig.gate.text().contains("three"));
    lingers();
    rig.queue.reopen("");
    until("it reopens", || rig.gate.text().contains("log reopened"));
    lingers();
    // So many that waiting for more is of no use.
    let line = "x".repeat(1024);
    for n in 0..80 {
        rig.say(format_args!("{n} {line}"));
    }
    until("it writes them", || rig.gate.text().contains("30 x"));
}

#[test]
fn no_line_of_a_trickle_waits_for_a_wake_that_does_not_come() {
    let rig = open_rig([]);
    let threads = (0..3_u64).map(|seed| {
        let (logger, queue) = (rig.logger.clone(), rig.queue.clone());
        thread::spawn(move || {
            let mut random = fastrand::Rng::with_seed(seed);
            for n in 0..1500 {
                say(&*logger, n);
                match random.u32(0..20) {
                    0 => thread::sleep(2 * LINGER),
                    1 => queue.flush(FLUSH),
                    2..10 => thread::sleep(Duration::from_micros(random.u64(0..300))),
                    _ => {}
                }
            }
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    // No caller asks for them to be written.
    until("all are there", || rig.gate.text().lines().count() == 4500);
    until("it rests", || rig.queue.writer().1);
}

#[test]
fn a_stuck_sink_costs_lines_and_is_waited_for_no_longer_than_a_stretch() {
    let rig = rig();
    let begun = Instant::now();
    for n in 0..50_000 {
        rig.say(n);
    }
    // A tenth of a second, and the work. 10 ms for each lost line would be minutes.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let lost = rig.lost();
    assert!(lost > 10_000, "{lost}");
    rig.gate.open();
    let lines = rig.lines();
    assert_eq!(told(&lines), lost);
    let numbers = lines.iter().filter_map(|line| line.strip_prefix("INFO:hello:")).map(|n| n.parse::<u64>().unwrap());
    let numbers = numbers.collect::<Vec<_>>();
    assert_eq!(numbers.len() as u64 + lost, 50_000);
    assert!(numbers.is_sorted());
    // The lost lines are the last ones: the first ones were written.
    assert_eq!(
        lines.last().unwrap(),
        &format!("WARN:hello:{lost} lines of the log were lost: there was no room for them")
    );
    rig.say("and on");
    assert_eq!(rig.lines().last().unwrap(), "INFO:hello:and on");
}

#[test]
fn the_number_of_lost_lines_stands_where_they_would_have_been() {
    let rig = rig();
    let words = "x".repeat(100_000);
    let mut n = 0;
    while rig.lost() < 3 {
        rig.say(format_args!("{n} {words}"));
        n += 1;
    }
    rig.gate.open();
    rig.logger.flush();
    rig.say("next");
    let lines = rig.lines();
    let lost = lines.iter().position(|line| line.starts_with("WARN:hello:3 lines")).unwrap();
    assert!(lines[lost - 1].starts_with(&format!("INFO:hello:{} ", n - 4)));
    assert_eq!(lines[lost + 1..], ["INFO:hello:next"]);
}

#[test]
fn threads_that_never_wait_have_a_part_of_the_queue_to_themselves() {
    let rig = rig();
    while rig.lost() == 0 {
        rig.say("x".repeat(1000));
    }
    let logger = rig.logger.clone();
    let service = thread::spawn(move || {
        crate::logging::never_wait();
        let begun = Instant::now();
        for n in 0..1000 {
            say(&*logger, format_args!("stopping {n}"));
        }
        begun.elapsed()
    });
    let took = service.join().unwrap();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(rig.lost(), 1);
    rig.gate.open();
    assert_eq!(rig.lines().iter().filter(|line| line.contains("stopping")).count(), 1000);
}

#[test]
fn lines_of_a_thread_stay_in_order_and_all_that_are_not_there_are_counted() {
    let rig = rig();
    thread::scope(|scope| {
        let opener = rig.gate.clone();
        for thread in 0..4 {
            let rig = &rig;
            scope.spawn(move || (0..10_000).for_each(|n| rig.say(format_args!("{thread} {n}"))));
        }
        while rig.lost() == 0 {
            thread::yield_now();
        }
        opener.open();
    });
    let lines = rig.lines();
    let mut last = HashMap::new();
    let mut there = 0;
    for line in lines.iter().filter_map(|line| line.strip_prefix("INFO:hello:")) {
        let (thread, n) = line.split_once(' ').unwrap();
        let n = n.parse::<i64>().unwrap();
        assert!(last.insert(thread.to_owned(), n).unwrap_or(-1) < n, "{line}");
        there += 1;
    }
    assert_eq!((there + rig.lost(), told(&lines)), (40_000, rig.lost()));
}

#[test]
fn a_sink_that_takes_a_little_at_a_time_gets_all() {
    let blocked = || io::Error::from(io::ErrorKind::WouldBlock);
    let interrupted = || io::Error::from(io::ErrorKind::Interrupted);
    let rig = open_rig((0..3000).map(|n| match n % 3 {
        0 => Ok(7),
        1 => Err(blocked()),
        _ => Err(interrupted()),
    }));
    let expected = (0..300).map(|n| format!("INFO:hello:line {n}")).collect::<Vec<_>>();
    (0..300).for_each(|n| rig.say(format_args!("line {n}")));
    assert_eq!((rig.lines(), rig.lost()), (expected, 0));
}

#[test]
fn after_a_full_disk_the_next_line_is_whole_and_what_was_lost_is_told() {
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    let rig = open_rig([Ok(9), Err(full()), Err(full()), Err(full())]);
    for line in ["one", "two", "three"] {
        rig.say(line);
        rig.logger.flush();
    }
    // Not even the line that ends the torn one.
    assert_eq!((rig.gate.text().as_str(), rig.lost()), ("INFO:hell", 3));
    rig.say("four");
    let lost = format!("WARN:hello:3 lines of the log were lost: {}", full());
    assert_eq!(rig.lines(), ["INFO:hell", &lost, "INFO:hello:four"]);
    assert_eq!(rig.lost(), 3);
}

#[test]
fn a_line_longer_than_the_queue_is_taken_and_a_longer_one_is_cut() {
    let rig = open_rig([]);
    rig.say("x".repeat(LONGEST));
    assert_eq!(rig.lines()[0].len(), "INFO:hello:".len() + LONGEST);
    rig.say(format!("{}ä and so on", "y".repeat(LONGEST - 1)));
    let line = &rig.lines()[1];
    assert!(line.ends_with("yyy .. (12 more bytes)"), "{}", &line[line.len() - 40..]);
    assert_eq!(rig.lost(), 0);
}

#[test]
fn a_flush_waits_for_half_a_second_at_most() {
    let rig = rig();
    rig.say("one");
    let begun = Instant::now();
    rig.logger.flush();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(450) && took < Duration::from_secs(10), "{took:?}");
    rig.gate.open();
    assert_eq!(rig.lines(), ["INFO:hello:one"]);
}

#[test]
fn a_file_is_opened_anew_in_its_turn_once_for_all_who_asked_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let filter = Arc::new(Filter::new("hello".to_owned(), levels("info")));
    let sink = Sink::file(&path).unwrap();
    let (queue, style) = (Arc::new(Queue::new(sink.patience())), Style::new(Format::Classic, sink.surroundings()));
    let logger = assemble(filter.clone(), style, queue.clone());
    say(&*logger, "old");
    let old = folder.path().join("old");
    fs::rename(&path, &old).unwrap();
    queue.reopen("HUP received, ");
    queue.reopen("HUP received, ");
    say(&*logger, "new");
    Writer { queue, sink, style, filter, unwritten: None }.start().unwrap();
    logger.flush();
    assert_eq!(fs::read_to_string(old).unwrap(), "INFO:hello:old\n");
    assert_eq!(fs::read_to_string(path).unwrap(), "INFO:hello:HUP received, log reopened\nINFO:hello:new\n");
}

#[test]
fn a_file_that_cannot_be_opened_anew_leaves_the_old_one_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("below");
    fs::create_dir(&below).unwrap();
    let path = below.join("log");
    let filter = Arc::new(Filter::new("hello".to_owned(), levels("info")));
    let sink = Sink::file(&path).unwrap();
    let (queue, style) = (Arc::new(Queue::new(sink.patience())), Style::new(Format::Classic, sink.surroundings()));
    let logger = assemble(filter.clone(), style, queue.clone());
    let moved = folder.path().join("moved");
    fs::rename(&below, &moved).unwrap();
    queue.reopen("");
    say(&*logger, "on");
    Writer { queue, sink, style, filter, unwritten: None }.start().unwrap();
    logger.flush();
    let text = fs::read_to_string(moved.join("log")).unwrap();
    let lines = text.lines().collect::<Vec<_>>();
    assert!(lines[0].starts_with("ERROR:hello:but the log can't be reopened: "), "{text}");
    assert_eq!(lines[1..], ["INFO:hello:on"]);
}
