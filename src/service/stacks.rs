//! The stack of one thread of this process, taken by pprof: a signal interrupts the thread, whose handler walks its own
//! stack.
//!
//! The profiler is there for that moment only, and without its timer, so no other thread is interrupted. `pthread_kill`
//! reaches a thread that can't end meanwhile: its loop's [`DriverSlot`](crate::channel::driver::DriverSlot) is locked.
//!
//! glibc's and libgcc's ways to walk a stack take no lock since glibc 2.35 and GCC 12. With older ones a thread that is
//! interrupted in them may hold the lock that the walk needs, so from there no stack is taken.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sys::{pthread::pthread_kill, signal::Signal};
use pprof::{Frames, ProfilerGuard, ProfilerGuardBuilder};

use crate::{channel::shared::Shared, kit::proc};

/// How long the thread may take to answer the signal.
const SIGNAL: Duration = Duration::from_secs(1);
/// Timers with a period below a microsecond are off: pprof's timer never fires.
const NO_TIMER: i32 = i32::MAX;
/// Where a thread may hold a lock that the walk of its stack needs.
const NOT_FROM: [&str; 2] = ["libgcc_s", "ld-linux"];
/// How many frames are looked up: to find the names of one takes milliseconds.
const FRAMES: usize = 48;
/// How many functions are shown at most.
const MOST: usize = 40;

/// Whether the symbols have been read, or are being read.
static WARMED: AtomicBool = AtomicBool::new(false);

/// Whether the caller must [`warm`] it: true once.
pub(super) fn is_cold() -> bool {
    !WARMED.swap(true, Ordering::Relaxed)
}

/// Reads the tables of symbols.
pub(super) fn warm() {
    drop(profiler());
}

/// What takes time in [`take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The profiler starts, and reads tables of symbols.
    Preparing,
    /// The thread walks its stack.
    Sampling,
    /// The names of the functions are looked up.
    Naming,
}

/// Takes the stack of the thread that drives this loop, unless the loop has gone on.
pub(super) fn take(shared: &Shared, is_late: impl Fn() -> bool, enter: impl Fn(Stage)) -> Result<String, String> {
    enter(Stage::Preparing);
    let profiler = profiler()?;
    enter(Stage::Sampling);
    if !is_late() {
        return Err("it has gone on".to_owned());
    }
    let sample = sample(&profiler, shared);
    drop(profiler);
    enter(Stage::Naming);
    names(&sample?())
}

/// Returns the profiler, which no one else may use.
fn profiler() -> Result<ProfilerGuard<'static>, String> {
    if mask("/proc/self/status", "SigCgt:").is_some_and(has_signal) {
        let why = "a profile is being taken, or the program has a handler of SIGPROF";
        return Err(why.to_owned());
    }
    let builder = ProfilerGuardBuilder::default().frequency(NO_TIMER);
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64"))]
    let builder = builder.blocklist(&NOT_FROM);
    builder.build().map_err(|error| match error {
        pprof::Error::Running => "a profile is being taken".to_owned(),
        error => format!("the profiler does not start (it needs a folder for temporary files): {error}"),
    })
}

/// Returns the stack; the names are found by the returned closure, once the profiler is gone.
fn sample(profiler: &ProfilerGuard<'_>, shared: &Shared) -> Result<impl FnOnce() -> Frames + use<>, String> {
    let sent = shared.driver.with(|driver| {
        let sent = pthread_kill(driver.thread, Signal::SIGPROF);
        sent.map(|()| (driver.thread, driver.tid))
    });
    let (thread, tid) = sent
        .ok_or_else(|| "no thread drives the loop any more".to_owned())?
        .map_err(|error| format!("the thread can't be signalled: {error}"))?;
    let deadline = Instant::now() + SIGNAL;
    // A look at the profiler while the handler begins would cost its sample: first the signal must have been taken.
    let status = tid.map(|tid| format!("/proc/self/task/{tid}/status"));
    let is_pending = || status.as_ref().and_then(|status| mask(status, "SigPnd:")).is_some_and(has_signal);
    let mut pause = Duration::from_millis(1);
    while is_pending() {
        if Instant::now() >= deadline {
            return Err(
                "given up after 1 s: the thread takes no signal; it blocks SIGPROF, or the kernel does".to_owned()
            );
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    let mut pause = Duration::from_millis(5);
    loop {
        thread::sleep(pause);
        let report = profiler.report().build_unresolved();
        let data = report.map_err(|error| format!("the profiler has no report: {error}"))?.data;
        if let Some(mut found) = data.into_keys().find(|stack| stack.thread_id == thread) {
            found.frames.truncate(FRAMES);
            return Ok(move || Frames::from(found));
        }
        if Instant::now() + pause >= deadline {
            return Err(
                "given up after 1 s: it is in the dynamic loader or the unwinder, whose stacks can't be walked, \
                        or has not begun to walk"
                    .to_owned(),
            );
        }
        pause *= 2;
    }
}

/// Returns the names of the functions, the innermost first, as far as the code that the loop polls reaches.
fn names(stack: &Frames) -> Result<String, String> {
    let names = stack.frames.iter().flatten().map(|symbol| brief(&symbol.name()));
    // What the handler itself has called.
    let mut names = names.skip_while(|name| is_of_profiler(name)).peekable();
    if names.peek().is_none() {
        return Err("the program has no symbols: it is stripped".to_owned());
    }
    let all = names.collect::<Vec<_>>();
    let ours = all.iter().position(|name| is_ours(name)).unwrap_or(all.len());
    let inner = all[..ours].iter().filter(|name| !is_glue(name)).map(String::as_str).collect::<Vec<_>>();
    let shown = if inner.is_empty() { all.iter().map(String::as_str).collect() } else { inner };
    let mut text = shown.iter().take(MOST).copied().collect::<Vec<_>>().join(" <- ");
    if shown.len() > MOST {
        text += &format!(" <- {} more", shown.len() - MOST);
    }
    Ok(text)
}

/// Leaves out the arguments of generics, which may be pages long: `poll<F>` is `poll`, `<Pin<P> as Future>::poll` is
/// `<Pin as Future>::poll`.
fn brief(name: &str) -> String {
    let mut brief = String::with_capacity(name.len());
    let (mut depth, mut before) = (0_usize, ' ');
    for c in name.chars() {
        match c {
            '<' if depth > 0 || before.is_alphanumeric() || matches!(before, '_' | '}') => depth += 1,
            '>' if depth > 0 && before != '-' => depth -= 1,
            c if depth == 0 => brief.push(c),
            _ => {}
        }
        before = c;
    }
    brief
}

fn is_of_profiler(name: &str) -> bool {
    ["backtrace::", "pprof::", "<pprof::", "perf_signal_handler"].iter().any(|start| name.starts_with(start))
}

/// Whether this is the code that polls a task or runs a job: further out is nothing of the user's.
fn is_ours(name: &str) -> bool {
    ["interloop::channel::", "<interloop::channel::", "interloop::task::", "<interloop::task::"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// Whether this only passes a call on.
fn is_glue(name: &str) -> bool {
    let starts = ["core::ops::function::", "std::panicking::", "std::panic::catch_unwind", "core::panic::unwind_safe"];
    starts.iter().any(|start| name.starts_with(start)) || name == "__rust_try"
}

/// Returns a mask of signals from a file of proc(5).
fn mask(file: &str, name: &str) -> Option<u64> {
    let status = proc::read(file).ok()?;
    let hex = status.lines().find_map(|line| line.strip_prefix(name))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

fn has_signal(mask: u64) -> bool {
    mask & (1 << (Signal::SIGPROF as i32 - 1)) != 0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        hint::black_box,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
            mpsc,
        },
    };

    use interloop_own_process::own_process;
    use nix::sys::signal::SigSet;

    use super::*;

    /// Does this again and again on a thread that drives a loop, while `f` looks at it.
    fn while_a_loop_does(work: impl Fn() + Send + 'static, f: impl FnOnce(&Arc<Shared>)) {
        let (shared, ends) = (Shared::new("io"), Arc::new(AtomicBool::new(false)));
        let (driven, end, (begun, begins)) = (shared.clone(), ends.clone(), mpsc::channel());
        let thread = thread::spawn(move || {
            let _driver = driven.driver.enter();
            begun.send(()).expect("it is awaited");
            let mut rounds = 0_u64;
            while !end.load(Ordering::Relaxed) {
                work();
                rounds += 1;
            }
            rounds
        });
        begins.recv_timeout(Duration::from_secs(10)).expect("it begins");
        f(&shared);
        ends.store(true, Ordering::Relaxed);
        assert!(thread.join().expect("it goes on") > 0);
    }

    fn stack(shared: &Shared) -> Result<String, String> {
        take(shared, || true, |_| ())
    }

    #[inline(never)]
    fn the_culprit_allocates() {
        for size in [16, 1000, 40_000, 400_000] {
            drop(black_box(vec![7_u8; size]));
        }
    }

    #[inline(never)]
    fn the_culprit_unwinds() {
        let unwound = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(7)));
        assert!(unwound.is_err());
    }

    #[inline(never)]
    fn the_culprit_walks_its_stack() {
        drop(black_box(std::backtrace::Backtrace::force_capture().to_string()));
    }

    #[test]
    fn a_thread_in_the_allocator_in_the_unwinder_or_in_its_own_backtrace_never_hangs() {
        own_process(|| {
            let cases: [(fn(), &str); 3] = [
                (the_culprit_allocates, "the_culprit_allocates"),
                (the_culprit_unwinds, "the_culprit_unwinds"),
                (the_culprit_walks_its_stack, "the_culprit_walks_its_stack"),
            ];
            for (work, name) in cases {
                while_a_loop_does(work, |shared| {
                    let begun = Instant::now();
                    let stacks = (0..10).map(|_| stack(shared)).collect::<Vec<_>>();
                    let named = stacks.iter().filter(|stack| stack.as_ref().is_ok_and(|stack| stack.contains(name)));
                    let named = named.count();
                    eprintln!("{name}: {named} of 10 in {:?}", begun.elapsed());
                    // Where there is none, that is said.
                    let is_said = |why: &String| why.contains("given up after 1 s: ");
                    assert!(
                        stacks.iter().all(|stack| stack.is_ok() || stack.as_ref().is_err_and(is_said)),
                        "{stacks:?}"
                    );
                    // The others are in the unwinder most of the time.
                    assert!(named > 0 || name != "the_culprit_allocates", "{stacks:?}");
                });
            }
        });
    }

    #[test]
    fn names_leave_out_the_arguments_of_generics() {
        assert_eq!(brief("wait_while<it::State, fn(u8) -> u8>"), "wait_while");
        assert_eq!(brief("<Pin<Box<P>> as Future>::poll"), "<Pin as Future>::poll");
        assert_eq!(brief("<std::sync::Condvar>::wait"), "<std::sync::Condvar>::wait");
        assert_eq!(brief("{async_fn#0}<Thread, A<B>>"), "{async_fn#0}");
        assert_eq!(brief("shop::serve::{{closure}}"), "shop::serve::{{closure}}");
    }

    #[test]
    fn a_thread_that_blocks_the_signal_is_given_up_after_a_second() {
        own_process(|| {
            let blocks = || {
                SigSet::from(Signal::SIGPROF).thread_block().expect("it is valid");
                thread::sleep(Duration::from_millis(1));
            };
            while_a_loop_does(blocks, |shared| {
                let begun = Instant::now();
                let why = stack(shared).expect_err("there is none");
                assert!(why.contains("given up after 1 s: the thread takes no signal"), "{why}");
                assert!(begun.elapsed() >= SIGNAL, "{:?}", begun.elapsed());
            });
        });
    }

    #[test]
    fn there_is_one_profile_at_a_time_and_a_loop_that_has_gone_on_is_left_alone() {
        own_process(|| {
            while_a_loop_does(the_culprit_allocates, |shared| {
                let profile = ProfilerGuardBuilder::default().frequency(99).build().expect("nobody else takes one");
                let why = stack(shared).expect_err("there is none");
                assert!(why.starts_with("a profile is being taken"), "{why}");
                drop(profile);
                assert_eq!(take(shared, || false, |_| ()), Err("it has gone on".to_owned()));
                assert!(stack(shared).is_ok());
            });
            assert_eq!(stack(&Shared::new("none")), Err("no thread drives the loop any more".to_owned()));
        });
    }
}
