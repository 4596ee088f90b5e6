//! Many tasks.

/// Tests that measure time, which must be alone on the machine.
mod quiet {
    use std::{fs, time::Duration};

    use interloop::{Service, Thread};

    use crate::util::{SOON, alone_for, quiet_resident};

    const LIMIT: Duration = Duration::from_secs(90);

    /// Returns the CPU time that this process has used outside of the kernel, in ticks of the system, which are 10 ms.
    /// The kernel's share is left out: it is the switching between the two threads, whose cost varies with the machine.
    fn cpu_ticks() -> u64 {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().nth(11).unwrap().parse().unwrap()
    }

    /// Returns how much CPU time this many tasks on one loop take to start and stop. `chained`: each requires the one
    /// before.
    fn life_of(tasks: usize, chained: bool) -> u64 {
        let mut service = Service::new("test");
        service.event_loop("io", Thread);
        let began = cpu_ticks();
        for number in 0..tasks {
            let settings = service.task(format!("task-{number}"), quiet_resident::<Thread>()).on("io");
            if let (true, Some(before)) = (chained, number.checked_sub(1)) {
                settings.requires(format!("task-{before}"));
            }
        }
        let running = service.start().unwrap();
        assert!(running.wait_started_timeout(SOON));
        assert_eq!(running.status().loops[0].futures, tasks);
        let report = running.stop();
        assert_eq!((report.code, report.tasks.len()), (0, tasks));
        cpu_ticks() - began
    }

    /// Checks that ten times as many tasks take ten times as long, with a margin for noise: the best of three runs.
    fn is_linear(chained: bool) {
        let runs = (0..3).map(|_| ((0..5).map(|_| life_of(1_000, chained)).sum(), life_of(10_000, chained)));
        let (small, large) = runs.fold((u64::MAX, u64::MAX), |best, run| (best.0.min(run.0), best.1.min(run.1)));
        // Ten ticks, a tenth of a second, are noise.
        assert!(large < small * 4 + 10, "1,000 tasks, five times: {small} ticks; 10,000 at once: {large}");
        println!("1,000 tasks, five times: {small} ticks; 10,000 at once: {large}");
    }

    #[test]
    fn ten_thousand_tasks_on_one_loop_start_and_stop_in_linear_time() {
        alone_for(LIMIT, || is_linear(false));
    }

    #[test]
    fn a_chain_of_ten_thousand_tasks_starts_and_stops_in_linear_time() {
        alone_for(LIMIT, || is_linear(true));
    }
}
