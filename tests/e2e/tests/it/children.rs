//! Children of a service as the world treats them: signalled along with it, without a terminal, in a container.

use std::{collections::BTreeMap, fs, process::Command};

use interloop_e2e::{Example, Signal, binary, watched};
use rustix::process::{Pid, kill_process};

fn children(kind: &str, script: &str) -> Example {
    Example::run(Command::new(binary("children")).env("CHILDREN", kind).env("SCRIPT", script))
}

/// All that come from this process, itself last: as a service manager finds them in its control group.
fn control_group(of: u32) -> Vec<i32> {
    let stats = fs::read_dir("/proc").unwrap().filter_map(|process| {
        let stat = fs::read_to_string(process.ok()?.path().join("stat")).ok()?;
        let pid: i32 = stat.split(' ').next()?.parse().ok()?;
        let parent: i32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    });
    let parents = stats.collect::<BTreeMap<_, _>>();
    let top = of as i32;
    let comes_from =
        |pid: &i32| std::iter::successors(Some(*pid), |pid| parents.get(pid).copied()).any(|pid| pid == top);
    let below = parents.keys().copied().filter(|pid| *pid != top && comes_from(pid));
    below.chain([top]).collect()
}

#[test]
fn a_term_to_the_whole_control_group_stops_a_service_with_0() {
    watched(|| {
        for round in 0..15 {
            // A child and its child, as `sh` and what it runs.
            let mut service = children("task", "sleep 1000 & echo up; wait");
            service.log("one: up");
            let all = control_group(service.id());
            // The service, the guard, the shell, the sleep.
            assert_eq!(all.len(), 4, "{all:?}");
            for pid in all {
                // One may have died of the one before.
                let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM);
            }
            assert_eq!(service.wait(), 0, "round {round}");
        }
    });
}
