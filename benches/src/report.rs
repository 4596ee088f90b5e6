//! The tables, as Markdown: `benches/RESULTS.md`, and what is printed.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::stats::Spread;
use crate::suite::{Bound, Effort, Outcome, Verdict};

/// All outcomes as one page.
pub fn markdown(outcomes: &[Outcome], effort: Effort) -> String {
    let mut page = String::new();
    write_page(&mut page, outcomes, effort).expect("writing to a String doesn't fail");
    page
}

fn write_page(page: &mut String, outcomes: &[Outcome], effort: Effort) -> std::fmt::Result {
    writeln!(page, "# Results\n")?;
    writeln!(page, "Written by `make bench`. {}\n", machine())?;
    writeln!(
        page,
        "Each figure is the median of {} rounds (smallest .. largest). All of one table ran interleaved, and ratios are \
         taken within a round.\n",
        effort.rounds
    )?;

    let verdicts: Vec<(&Outcome, &Verdict)> =
        outcomes.iter().flat_map(|outcome| outcome.verdicts.iter().map(move |verdict| (outcome, verdict))).collect();
    if !verdicts.is_empty() {
        writeln!(page, "## What has to hold\n")?;
        writeln!(page, "| where | what | has to be | is | holds |\n|---|---|---|---|---|")?;
        for (outcome, verdict) in verdicts {
            let (word, sign, limit) = match verdict.bound {
                Bound::CostAtMost(limit) => ("cost", "≤", limit),
                Bound::SpeedAtLeast(limit) => ("speed", "≥", limit),
            };
            let ratio = verdict.ratio.map_or_else(|| "not measured".to_owned(), ratio);
            let holds = if verdict.holds() { "yes" } else { "**no**" };
            writeln!(
                page,
                "| {} | {word} of {} to {} | {sign} {limit} | {ratio} | {holds} |",
                outcome.id, verdict.first, verdict.second
            )?;
        }
        writeln!(page)?;
    }

    for outcome in outcomes {
        writeln!(page, "## {}\n\n{}\n", outcome.id, outcome.question)?;
        writeln!(page, "| | each | a second | relative |\n|---|---|---|---|")?;
        for row in &outcome.rows {
            let name = row.link.map_or_else(|| row.name.to_owned(), |link| format!("[{}]({link})", row.name));
            match &row.figures {
                Ok(figures) => writeln!(
                    page,
                    "| {name} | {} | {:.0} | {} |",
                    time(figures.cost),
                    figures.rate.median,
                    figures.ratio.map_or_else(String::new, ratio)
                )?,
                Err(why) => writeln!(page, "| {name} | not measured: {why} | | |")?,
            }
        }
        writeln!(page, "\n{} operations a round.\n", outcome.operations)?;
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    Ok(())
}

fn time(nanos: Spread) -> String {
    let (unit, scale) = match nanos.median {
        m if m < 1e3 => ("ns", 1.0),
        m if m < 1e6 => ("us", 1e3),
        _ => ("ms", 1e6),
    };
    let Spread { median, min, max } = nanos;
    format!("{:.2} {unit} ({:.2} .. {:.2})", median / scale, min / scale, max / scale)
}

fn ratio(ratio: Spread) -> String {
    format!("{:.2} ({:.2} .. {:.2})", ratio.median, ratio.min, ratio.max)
}

/// One sentence on what this ran on.
fn machine() -> String {
    let first_line = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("CPU", |(_, m)| m);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim().split(['-', '+']).next().unwrap_or_default();
    let rustc = first_line("rustc", "--version").unwrap_or_else(|| "rustc".to_owned());
    format!("{cpu}, {cores} cores, Linux {kernel}, {rustc}.")
}
