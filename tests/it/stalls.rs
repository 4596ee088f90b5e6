//! The stall watch, `--stall-after`: a loop that takes no turn is told, once, with what its thread is in.

use std::{hint, thread, time::Duration};

use interloop::{
    EventLoop, NoOptions, Result, Service, Thread,
    event_loop::{Mailbox, Turn},
    task_fn,
};

use crate::util::{Latch, SOON, alone, quiet_resident, soon, up, warned, warnings};

/// Whether stacks can be taken here.
const STACKS: bool = cfg!(all(feature = "stall-stacks", target_os = "linux", target_env = "gnu"));

/// Returns a service whose task `web`, which says that it never blocks, runs this once the latch is open.
fn service(begins: &Latch, culprit: impl FnOnce() + Send + 'static) -> Service {
    let mut service = Service::new("test");
    let begins = begins.clone();
    let task = task_fn::<Thread>(async move |cx| {
        cx.ready();
        begins.opened().await;
        culprit();
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("web", task).never_blocks().stop_timeout(Duration::from_millis(100));
    service.set("stall-after", "1s");
    service
}

#[inline(never)]
fn the_culprit_waits(latch: &Latch) {
    latch.wait_for_ever();
    hint::black_box(());
}

#[test]
fn a_stalled_loop_is_told_once_with_its_task_and_counted_until_it_goes_on() {
    alone(|| {
        warnings();
        let (begins, ends) = (Latch::default(), Latch::default());
        let end = ends.clone();
        let mut service = service(&begins, move || the_culprit_waits(&end));
        service.task("aside", quiet_resident::<Thread>()).never_blocks();
        let running = up(service);
        begins.open();
        soon("it is told", || !warned().is_empty());
        let told = warned().pop().unwrap();
        let begin = "WARN test: loop web is stalled: thread web has been in task web for 1";
        assert!(told.starts_with(begin), "{told}");
        if STACKS {
            let (_, stack) = told.split_once("; its stack: ").unwrap_or_else(|| panic!("no stack: {told}"));
            assert!(
                stack.contains("the_culprit_waits <- ") && !stack.contains("interloop::task::incarnation"),
                "{stack}"
            );
            assert!(!stack.contains("pprof") && !stack.contains("backtrace"), "{stack}");
        } else if cfg!(target_os = "linux") {
            assert!(told.contains("; the kernel says: system call "), "{told}");
        }
        // Calls, and whoever asks, make no second warning of it.
        running.heartbeats();
        running.blocked_loops();
        thread::sleep(Duration::from_millis(1500));
        assert_eq!(warned().len(), 1, "{:?}", warned());
        let stalls = |name: &str| running.status().loops.iter().find(|l| l.name == name).map(|l| l.stalls);
        assert_eq!((stalls("web"), stalls("aside")), (Some(1), Some(0)));
        ends.open();
        soon("it answers", || running.heartbeats().into_iter().all(|beat| beat.reply.wait_timeout(SOON).is_ok()));
        assert_eq!(running.stop().code, 0);
        assert_eq!(warned().len(), 1, "{:?}", warned());
    });
}

#[test]
fn a_task_that_may_block_its_own_thread_is_not_asked_and_heartbeats_leave_it_out() {
    alone(|| {
        warnings();
        let ends = Latch::default();
        let mut service = Service::new("test");
        let end = ends.clone();
        let blocks = task_fn::<Thread>(async move |cx| {
            cx.ready();
            end.wait_for_ever();
            Ok(())
        });
        service.task("blocks", blocks);
        service.event_loop("shared", Thread);
        for name in ["a", "b"] {
            service.task(name, quiet_resident::<Thread>()).on("shared");
        }
        service.task("never", quiet_resident::<Thread>()).never_blocks();
        service.set("stall-after", "100ms");
        let running = up(service);
        let asked = running.heartbeats().into_iter().map(|beat| beat.name.to_string()).collect::<Vec<_>>();
        assert_eq!(asked, ["shared", "never"]);
        thread::sleep(Duration::from_millis(1500));
        assert_eq!(warned(), [""; 0]);
        ends.open();
        running.stop();
    });
}

#[test]
fn a_stop_that_runs_out_of_time_reports_the_stack_of_the_loop_that_is_left_behind() {
    alone(|| {
        warnings();
        // The watch finds out about the first, whose stop then doesn't interrupt it once more; with the second the watch
        // is off. The first stack of a process takes long: its symbols are read.
        for watch in ["200ms", "0s"] {
            stops_past_its_deadline(watch);
        }
        assert_eq!(warned().iter().filter(|line| line.contains("is stalled")).count(), 1, "{:?}", warned());
    });
}

fn stops_past_its_deadline(watch: &str) {
    let (begins, ends) = (Latch::default(), Latch::default());
    let end = ends.clone();
    let mut service = service(&begins, move || the_culprit_waits(&end));
    service.set("stall-after", watch);
    let running = up(service);
    let before = warned().len();
    begins.open();
    soon("it is blocked", || !running.blocked_loops().is_empty() && warned().len() > before);
    let report = running.stop();
    assert_eq!((report.code, report.stuck.len()), (124, 1), "{report}");
    let stack = report.stuck[0].stack.clone();
    assert_eq!(stack.is_some(), STACKS, "{report}");
    if let Some(stack) = stack {
        assert!(stack.contains("the_culprit_waits <- "), "{stack}");
        assert!(report.to_string().contains(&stack), "{report}");
    }
    ends.open();
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_was_stopped_as_a_whole_has_no_stalled_loop() {
    alone(|| {
        warnings();
        let (begins, done) = (Latch::default(), Latch::default());
        let is_done = done.clone();
        let works = move || {
            // Each of these goes on after the stop.
            (0..160).for_each(|_| thread::sleep(Duration::from_millis(10)));
            is_done.open();
        };
        let mut service = service(&begins, works);
        service.set("stall-after", "2s");
        let running = up(service);
        begins.open();
        // By then the loop has been asked.
        let stops = "sleep 1.2; kill -STOP $PPID; sleep 3; kill -CONT $PPID";
        let stopped = std::process::Command::new("sh").args(["-c", stops]).status();
        assert!(stopped.unwrap().success());
        done.wait();
        soon("it answers", || running.heartbeats().into_iter().all(|beat| beat.reply.wait_timeout(SOON).is_ok()));
        assert_eq!(running.stop().code, 0);
        assert_eq!(warned(), [""; 0]);
    });
}

/// A parked thread whose adapter says what it is in.
#[derive(Clone)]
struct Spoken(fn() -> Option<String>);

impl Default for Spoken {
    fn default() -> Self {
        Self(|| None)
    }
}

impl EventLoop for Spoken {
    const NAME: &'static str = "spoken";
    type Options = NoOptions;
    type Native = ();

    fn drive(self, _: NoOptions, mut mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        let thread = thread::current();
        mailbox.set_notify(move || thread.unpark());
        mailbox.set_activity(self.0);
        started(&mailbox, ());
        loop {
            match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => {}
                Turn::Idle => thread::park(),
            }
        }
    }
}

#[test]
fn an_adapter_says_what_its_loop_is_in_unless_it_blocks_or_panics() {
    alone(|| {
        warnings();
        type Says = fn() -> Option<String>;
        let says: [(Says, bool); 3] = [
            (|| Some("serve, shop.py line 7".to_owned()), true),
            (|| panic!("on purpose"), false),
            // Last: whoever is inspected later would wait behind it.
            (
                || {
                    Latch::default().wait_for_ever();
                    None
                },
                false,
            ),
        ];
        for (told_before, (say, is_told)) in says.into_iter().enumerate() {
            let ends = Latch::default();
            let end = ends.clone();
            let mut service = Service::new("test");
            service.event_loop("io", Spoken(say));
            let task = task_fn::<Spoken>(async move |cx| {
                cx.ready();
                the_culprit_waits(&end);
                cx.until_shutdown().await;
                Ok(())
            });
            service.task("web", task).on("io");
            service.set("stall-after", "200ms");
            let running = up(service);
            soon("it is told", || warned().iter().filter(|line| line.contains("is stalled")).count() > told_before);
            let lines = warned();
            let line = lines.iter().rfind(|line| line.contains("is stalled")).unwrap();
            assert_eq!(line.contains("; it is in serve, shop.py line 7"), is_told, "{line}");
            assert_eq!(line.contains("; its stack: "), STACKS, "{line}");
            ends.open();
            assert_eq!(running.stop().code, 0);
        }
    });
}

/// Tests that count wakeups, which must be alone on the machine.
mod quiet {
    use crate::util::{silence, switches};

    use super::*;

    #[test]
    fn while_it_is_on_each_thread_wakes_up_twice_a_second_and_while_it_is_off_never() {
        alone(|| {
            let mut service = Service::new("test");
            for name in ["a", "b"] {
                service.task(name, quiet_resident::<Thread>()).never_blocks();
            }
            service.task("may-block", quiet_resident::<Thread>());
            let running = up(service);
            let before = silence();
            thread::sleep(Duration::from_secs(2));
            assert_eq!(switches(), before);
            running.options().set("stall-after", "1s").unwrap();
            thread::sleep(Duration::from_millis(100));
            let before = switches();
            thread::sleep(Duration::from_secs(4));
            let wakeups =
                switches().into_iter().filter_map(|(id, now)| Some(now - before.get(&id)?)).collect::<Vec<_>>();
            eprintln!("wakeups in 4 s: {wakeups:?}");
            assert!(wakeups.iter().all(|&wakeups| wakeups < 12), "{wakeups:?}");
            assert!(
                wakeups.iter().filter(|&&wakeups| wakeups >= 6).count() == 3,
                "two loops, and the watch: {wakeups:?}"
            );
            running.options().set("stall-after", "0s").unwrap();
            let before = silence();
            thread::sleep(Duration::from_secs(2));
            assert_eq!(switches(), before);
            assert_eq!(running.stop().code, 0);
        });
    }
}

#[test]
fn the_watch_can_be_switched_on_and_off_while_the_service_runs() {
    alone(|| {
        warnings();
        let (begins, ends) = (Latch::default(), Latch::default());
        let end = ends.clone();
        let mut service = service(&begins, move || the_culprit_waits(&end));
        service.set("stall-after", "0s");
        let running = up(service);
        let watch_is_there = || {
            let mut tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
            tasks.any(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "stalls"))
        };
        assert!(!watch_is_there());
        running.options().set("stall-after", "200ms").unwrap();
        soon("it is there", watch_is_there);
        begins.open();
        soon("it is told", || warned().iter().any(|line| line.contains("loop web is stalled")));
        running.options().set("stall-after", "0s").unwrap();
        soon("it is gone", || !watch_is_there());
        assert!(running.options().set("stall-after", "1ms").unwrap_err().to_string().contains("10ms or more"));
        running.options().set("stall-after", "200ms").unwrap();
        soon("it is there again", watch_is_there);
        ends.open();
        assert_eq!(running.stop().code, 0);
        soon("it is gone with the service", || !watch_is_there());
    });
}

#[cfg(all(feature = "stall-stacks", target_os = "linux", target_env = "gnu"))]
mod stacks {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
        sync::{
            Arc, Mutex,
            atomic::{AtomicBool, Ordering},
        },
        time::Instant,
    };

    use super::*;
    use crate::util::alone_for;

    /// Takes the first stack of this process, for which its symbols are read: on a busy machine that takes long.
    fn symbols_are_read() {
        let ends = Latch::default();
        let end = ends.clone();
        told_and(move || the_culprit_waits(&end), || ends.open());
    }

    /// Runs the culprit on a loop; returns the warning.
    fn told(culprit: impl FnOnce() + Send + 'static) -> String {
        told_and(culprit, || ())
    }

    /// Calls `then` once the culprit is told.
    fn told_and(culprit: impl FnOnce() + Send + 'static, then: impl FnOnce()) -> String {
        let begins = Latch::default();
        let running = up(service(&begins, culprit));
        let before = warned().len();
        begins.open();
        soon("it is told", || warned().len() > before);
        then();
        soon("it goes on", || running.heartbeats().into_iter().all(|beat| beat.reply.wait_timeout(SOON).is_ok()));
        assert_eq!(running.stop().code, 0);
        assert_eq!(warned().len(), before + 1, "{:?}", warned());
        warned().pop().unwrap()
    }

    #[inline(never)]
    fn the_culprit_sleeps() {
        let begun = Instant::now();
        thread::sleep(Duration::from_secs(3));
        // The signal does not shorten it.
        assert!(begun.elapsed() >= Duration::from_secs(3));
    }

    #[inline(never)]
    fn the_culprit_spins() {
        let begun = Instant::now();
        let mut sum = 0_u64;
        while begun.elapsed() < Duration::from_secs(3) {
            sum = hint::black_box((0..10_000).fold(sum, u64::wrapping_add));
        }
    }

    #[inline(never)]
    fn the_culprit_locks(mutex: &Mutex<u8>) {
        assert_eq!(*mutex.lock().unwrap(), 7);
        hint::black_box(());
    }

    #[inline(never)]
    fn the_culprit_reads(stream: &mut UnixStream) {
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"done");
    }

    #[test]
    fn the_stack_names_what_sleeps_spins_locks_and_reads_and_they_go_on_as_if_nothing_had_been() {
        alone_for(Duration::from_secs(60), || {
            warnings();
            symbols_are_read();
            let held = Arc::new(Mutex::new(7));
            let (locked, mutex) = (held.clone(), held);
            let (mut writes, mut reads) = UnixStream::pair().unwrap();
            let is_told = |culprit: &str, told: String| {
                let stack = told.split_once("; its stack: ").unwrap_or_else(|| panic!("no stack: {told}")).1;
                assert!(stack.contains(&format!("{culprit} <- ")), "{culprit}: {stack}");
            };
            is_told("the_culprit_sleeps", told(the_culprit_sleeps));
            is_told("the_culprit_spins", told(the_culprit_spins));
            let holds = Latch::default();
            let held = holds.clone();
            let holder = thread::spawn(move || {
                let _locked = locked.lock().unwrap();
                held.open();
                thread::sleep(Duration::from_secs(4));
            });
            holds.wait();
            is_told("the_culprit_locks", told(move || the_culprit_locks(&mutex)));
            holder.join().unwrap();
            let writer = thread::spawn(move || {
                thread::sleep(Duration::from_secs(3));
                writes.write_all(b"done").unwrap();
            });
            is_told("the_culprit_reads", told(move || the_culprit_reads(&mut reads)));
            writer.join().unwrap();
        });
    }

    #[test]
    fn a_poll_straight_from_libc_is_interrupted_once_and_no_other_thread_is() {
        alone(|| {
            warnings();
            symbols_are_read();
            let is_told = Latch::default();
            let until = is_told.clone();
            let polls = move || {
                let (mut interrupted, mut seconds) = (0, 9);
                while !until.is_open() {
                    let time = rustix::event::Timespec { tv_sec: seconds, tv_nsec: 100_000_000 };
                    match rustix::event::poll(&mut [], Some(&time)) {
                        Ok(_) => {}
                        Err(rustix::io::Errno::INTR) => interrupted += 1,
                        Err(error) => panic!("{error}"),
                    }
                    seconds = 0;
                }
                interrupted
            };
            let spared = {
                let until = is_told.clone();
                move || {
                    let mut interrupted = 0;
                    while !until.is_open() {
                        let time = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
                        interrupted += usize::from(rustix::event::poll(&mut [], Some(&time)).is_err());
                    }
                    interrupted
                }
            };
            let other = thread::spawn(spared);
            let (counted, count) = std::sync::mpsc::channel();
            let told = told_and(move || counted.send(polls()).unwrap(), || is_told.open());
            assert!(told.contains("poll <- "), "{told}");
            assert_eq!((count.recv().unwrap(), other.join().unwrap()), (1, 0), "{told}");
        });
    }

    /// The dynamic loader, which std doesn't call.
    mod loader {
        #![allow(unsafe_code)]

        use std::ffi::{CStr, c_char, c_int, c_void};

        unsafe extern "C" {
            fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
            fn dlclose(handle: *mut c_void) -> c_int;
        }

        const RTLD_NOW: c_int = 2;

        /// Loads a library of this test or of glibc, and unloads it; returns whether it is there.
        pub(super) fn load(name: &CStr) -> bool {
            // SAFETY: the name ends with a zero byte, and the constructors of these libraries keep to themselves.
            let handle = unsafe { dlopen(name.as_ptr(), RTLD_NOW) };
            // SAFETY: it is closed once, and nothing of it is in use.
            !handle.is_null() && unsafe { dlclose(handle) } == 0
        }
    }

    #[inline(never)]
    fn the_culprit_loads(name: &std::ffi::CStr) {
        assert!(loader::load(name));
        hint::black_box(());
    }

    #[test]
    fn a_thread_in_the_dynamic_loader_is_told_and_goes_on() {
        alone_for(Duration::from_secs(60), || {
            warnings();
            symbols_are_read();
            let folder = tempfile::tempdir().unwrap();
            let (source, library) = (folder.path().join("slow.c"), folder.path().join("libslow.so"));
            let code =
                "#include <unistd.h>\n__attribute__((constructor)) void the_slow_constructor(void) { sleep(3); }\n";
            std::fs::write(&source, code).unwrap();
            let mut cc = std::process::Command::new("cc");
            let compiled = cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
            assert!(compiled.unwrap().success());
            let name = std::ffi::CString::new(library.to_str().unwrap()).unwrap();
            let line = told(move || the_culprit_loads(&name));
            assert!(line.contains("dlopen <- ") && line.contains("the_culprit_loads <- "), "{line}");
            // Loads and unloads, all the time: there may be no stack, and that is said.
            let is_told = Latch::default();
            let until = is_told.clone();
            let loads = move || {
                while !until.is_open() {
                    the_culprit_loads(c"libresolv.so.2");
                }
            };
            let line = told_and(loads, || is_told.open());
            assert!(line.contains("the_culprit_loads <- ") || line.contains("; no stack: given up after "), "{line}");
        });
    }

    #[test]
    fn a_program_with_a_handler_of_sigprof_keeps_it() {
        alone(|| {
            warnings();
            let seen = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal_hook::consts::SIGPROF, seen.clone()).unwrap();
            let told = told(|| thread::sleep(Duration::from_secs(3)));
            assert!(told.contains("; no stack: a profile is being taken, or the program has a handler"), "{told}");
            assert!(told.contains("; the kernel says: "), "{told}");
            assert!(!seen.load(Ordering::Relaxed));
            signal_hook::low_level::raise(signal_hook::consts::SIGPROF).unwrap();
            assert!(seen.load(Ordering::Relaxed));
        });
    }
}
