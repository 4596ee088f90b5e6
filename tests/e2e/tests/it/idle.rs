//! Idle means idle. The module has this name because such tests run alone.

mod quiet {
    use std::{
        fs, thread,
        time::{Duration, Instant},
    };

    use interloop_e2e::{Example, Signal, watched};

    /// Returns for each thread of a process: its name, whether it sleeps (a thread that waits for a processor does
    /// not), and its voluntary switches.
    fn switches(pid: u32) -> Vec<(String, bool, u64)> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks
            // For one that has ended meanwhile there is nothing to read.
            .filter_map(|task| {
                let path = task.unwrap().path();
                let name = fs::read_to_string(path.join("comm")).ok()?.trim().to_owned();
                let status = fs::read_to_string(path.join("status")).ok()?;
                let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let sleeps = field("State:")?.starts_with('S');
                Some((name, sleeps, field("voluntary_ctxt_switches:")?.parse().unwrap()))
            })
            // async-io's pool for blocking work: its threads end by themselves, which doesn't concern an idle loop.
            .filter(|(name, ..)| !name.starts_with("blocking-"))
            .collect()
    }

    #[test]
    fn all_loops_and_a_hundred_tasks_stop_at_once() {
        watched(|| {
            let mut example = Example::start("idle", &[]);
            example.log("all tasks started");
            let begun = Instant::now();
            example.signal(Signal::TERM);
            assert_eq!(example.wait(), 0);
            // Far more than it takes: the benches have the figure.
            assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
        });
    }

    #[test]
    fn idle_loops_make_no_wakeup_for_five_seconds() {
        watched(|| {
            let mut example = Example::start("idle", &[]);
            example.log("all tasks started");
            // The consequences of the start have settled when nothing changes any more.
            let mut before = switches(example.id());
            loop {
                thread::sleep(Duration::from_millis(200));
                let now = switches(example.id());
                if now == before && now.iter().all(|(_, sleeps, _)| *sleeps) {
                    break;
                }
                before = now;
            }
            // The time is what is measured.
            thread::sleep(Duration::from_secs(5));
            assert_eq!(switches(example.id()), before);
            example.signal(Signal::TERM);
            assert_eq!(example.wait(), 0);
        });
    }
}
