//! Stalls, as the watch tells of them on each loop, and as what stalls goes on afterwards.

use std::{
    hint,
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use interloop::{EventLoop, Running, Service, task_fn};

use crate::{LONG, down, up};

static LINES: Lines = Lines(Mutex::new(Vec::new()));

struct Lines(Mutex<Vec<String>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record.args().to_string());
    }

    fn flush(&self) {}
}

fn warnings() -> Vec<String> {
    LINES.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn soon(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "not so: {what}: {:?}", warnings());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Is set once the stall was told.
pub type Told = Arc<AtomicBool>;

fn waits_for(told: &Told) {
    soon("it is told", || told.load(Ordering::Relaxed));
}

/// Runs this on a loop of kind `L`, in a task `web`; returns the warning, and how long it took. In a process of its own.
pub fn told<L: EventLoop>(culprit: impl FnOnce(Told) + Send + 'static) -> (String, Duration) {
    let _ = log::set_logger(&LINES);
    log::set_max_level(log::LevelFilter::Warn);
    let told = Told::default();
    let (begun, is_told) = (Arc::new(Mutex::new(None)), told.clone());
    let at = begun.clone();
    let mut service = Service::new("test");
    let task = task_fn::<L>(async move |cx| {
        cx.ready();
        *at.lock().expect("nothing panics here") = Some(Instant::now());
        culprit(is_told);
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("web", task).never_blocks();
    service.set("stall-after", "1s");
    let before = warnings().len();
    let running = up(service);
    soon("it is told", || warnings().len() > before);
    let took = begun.lock().expect("nothing panics here").expect("it has begun").elapsed();
    told.store(true, Ordering::Relaxed);
    soon("it goes on", || answers(&running));
    down(running);
    assert_eq!(warnings().len(), before + 1, "once: {:?}", warnings());
    (warnings().pop().expect("there is one"), took)
}

fn answers(running: &Running) -> bool {
    running.heartbeats().into_iter().all(|beat| beat.reply.wait_timeout(Duration::from_millis(50)).is_ok())
}

#[inline(never)]
fn the_culprit_sleeps() {
    let begun = Instant::now();
    thread::sleep(Duration::from_millis(2500));
    assert!(begun.elapsed() >= Duration::from_millis(2500), "it was cut short");
}

#[inline(never)]
fn the_culprit_spins(told: &Told) {
    let mut sum = 0_u64;
    while !told.load(Ordering::Relaxed) {
        sum = hint::black_box((0..1000).fold(sum, u64::wrapping_add));
    }
}

#[inline(never)]
fn the_culprit_locks(mutex: &Mutex<u8>) {
    assert_eq!(*mutex.lock().expect("nothing panics here"), 7);
    hint::black_box(());
}

#[inline(never)]
fn the_culprit_reads(stream: &mut UnixStream) {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).expect("no error");
    assert_eq!(&bytes, b"done");
}

/// Checks the warnings of what sleeps, spins, waits for a mutex and for bytes, on a loop of kind `L`. In a process of its
/// own, which has the machine to itself.
pub fn every_culprit_is_named_on<L: EventLoop>() {
    let check = |name: &str, (line, took): (String, Duration)| {
        assert!(line.contains(" has been in task web for 1"), "{line}");
        let stack = line.split_once("; its stack: ").unwrap_or_else(|| panic!("no stack: {line}")).1;
        assert!(stack.contains(&format!("{name} <- ")), "{name} is not in it: {stack}");
        eprintln!("{}: {name} told after {took:?}", L::NAME);
        assert!(took < Duration::from_secs(3), "{name}: {took:?}");
    };
    // The first stack of a process takes longer: its symbols are read.
    told::<L>(|told| waits_for(&told));
    check("the_culprit_sleeps", told::<L>(|_| the_culprit_sleeps()));
    check("the_culprit_spins", told::<L>(|told| the_culprit_spins(&told)));
    let (mutex, held) = (Arc::new(Mutex::new(7)), Arc::new(AtomicBool::new(false)));
    let locks = move |told: Told| {
        let (locked, is_held) = (mutex.clone(), held.clone());
        let holder = thread::spawn(move || {
            let _locked = locked.lock().expect("nothing panics here");
            is_held.store(true, Ordering::Relaxed);
            waits_for(&told);
        });
        soon("it is held", || held.load(Ordering::Relaxed));
        the_culprit_locks(&mutex);
        holder.join().expect("it only waits");
    };
    check("the_culprit_locks", told::<L>(locks));
    let reads = |told: Told| {
        let (mut writes, mut reads) = UnixStream::pair().expect("a pair");
        let writer = thread::spawn(move || {
            waits_for(&told);
            writes.write_all(b"done").expect("no error");
        });
        the_culprit_reads(&mut reads);
        writer.join().expect("it only waits");
    };
    check("the_culprit_reads", told::<L>(reads));
}
