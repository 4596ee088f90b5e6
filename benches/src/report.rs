//! The tables, as Markdown: `benches/RESULTS.md`, and the printed output.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::stats::Spread;
use crate::suite::{Bound, Outcome, Unit, Verdict};

/// Formats all outcomes as one page.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut page = String::new();
    write_page(&mut page, outcomes).expect("writing to a String doesn't fail");
    page
}

fn write_page(page: &mut String, outcomes: &[Outcome]) -> std::fmt::Result {
    writeln!(page, "# Results\n")?;
    writeln!(page, "Written by `make bench`. {}\n", machine())?;
    writeln!(
        page,
        "Each figure is the median of all rounds (lower quartile .. upper quartile). All of one table ran interleaved, and ratios \
         are taken within a round: the median of ratios need not be the ratio of medians.\n"
    )?;

    let verdicts: Vec<(&Outcome, &Verdict)> =
        outcomes.iter().flat_map(|outcome| outcome.verdicts.iter().map(move |verdict| (outcome, verdict))).collect();
    if !verdicts.is_empty() {
        writeln!(page, "## What has to hold\n")?;
        writeln!(page, "| where | what | has to be | is | holds |\n|---|---|---|---|---|")?;
        for (outcome, verdict) in verdicts {
            let (what, bound, found) = match verdict.bound {
                Bound::CostAtMost(limit) => ("cost of ", format!("≤ {limit}"), verdict.found.map(ratio)),
                Bound::SpeedAtLeast(limit) => ("speed of ", format!("≥ {limit}"), verdict.found.map(ratio)),
                Bound::AtMost(limit) => {
                    let exact = Spread { median: limit, low: limit, high: limit };
                    let (limit, unit) = scaled(exact, outcome.unit);
                    let found = verdict.found.map(|found| cost(found, outcome.unit));
                    ("", format!("≤ {:.0} {unit}", limit.median), found)
                }
            };
            let second = verdict.second.map_or_else(String::new, |second| format!(" to {second}"));
            let found = found.unwrap_or_else(|| "not measured".to_owned());
            let holds = if verdict.holds() { "yes" } else { "**no**" };
            writeln!(page, "| {} | {what}{}{second} | {bound} | {found} | {holds} |", outcome.id, verdict.first)?;
        }
        writeln!(page)?;
    }

    for outcome in outcomes {
        writeln!(page, "## {}\n\n{}\n", outcome.id, outcome.question)?;
        if outcome.is_matrix {
            write_matrix(page, outcome)?;
        } else {
            write_table(page, outcome)?;
        }
        writeln!(page, "\n{} rounds of {} operations.\n", outcome.rounds, outcome.operations)?;
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    Ok(())
}

fn write_table(page: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let timed = outcome.unit == Unit::Nanoseconds;
    match outcome.columns {
        Some([first, second]) => writeln!(page, "| | {first} | {second} | relative |\n|---|---|---|---|")?,
        None if timed => writeln!(page, "| | each | a second | relative |\n|---|---|---|---|")?,
        None => writeln!(page, "| | each | relative |\n|---|---|---|")?,
    }
    let has_second = timed || outcome.columns.is_some();
    for row in &outcome.rows {
        let name = row.link.map_or_else(|| row.name.to_owned(), |link| format!("[{}]({link})", row.name));
        match &row.figures {
            Ok(figures) => {
                let rate = match outcome.columns {
                    Some(_) => format!(" {} |", cost(figures.rate, outcome.unit)),
                    None if timed => format!(" {:.0} |", figures.rate.median),
                    None => String::new(),
                };
                let relative = figures.ratio.map_or_else(String::new, ratio);
                writeln!(page, "| {name} | {} |{rate} {relative} |", cost(figures.cost, outcome.unit))?;
            }
            Err(why) => writeln!(page, "| {name} | not measured: {why} |{} |", if has_second { " |" } else { "" })?,
        }
    }
    Ok(())
}

/// Writes a matrix in which rows call columns; each cell is the cost, and its ratio to the first contestant's.
fn write_matrix(page: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let pairs: Vec<_> = outcome.rows.iter().filter_map(|row| Some((row.name.split_once(" to ")?, row))).collect();
    let mut names: Vec<&str> = Vec::new();
    for ((from, _), _) in &pairs {
        if !names.contains(from) {
            names.push(from);
        }
    }
    let first = &outcome.rows[0];
    if let Ok(figures) = &first.figures {
        writeln!(page, "{}: {}.\n", first.name, cost(figures.cost, outcome.unit))?;
    }
    writeln!(page, "| from \\ to | {} |", names.join(" | "))?;
    writeln!(page, "|---|{}", "---|".repeat(names.len()))?;
    for from in &names {
        write!(page, "| {from} |")?;
        for to in &names {
            let row = pairs.iter().find(|(pair, _)| *pair == (*from, *to)).map(|(_, row)| &row.figures);
            match row {
                Some(Ok(figures)) => {
                    let (Spread { median, .. }, unit) = scaled(figures.cost, outcome.unit);
                    let ratio = figures.ratio.map_or(f64::NAN, |ratio| ratio.median);
                    write!(page, " {ratio:.2} ({median:.1} {unit}) |")?;
                }
                Some(Err(why)) => write!(page, " {why} |")?,
                None => write!(page, " |")?,
            }
        }
        writeln!(page)?;
    }
    Ok(())
}

fn cost(spread: Spread, unit: Unit) -> String {
    let (Spread { median, low, high }, unit) = scaled(spread, unit);
    format!("{median:.2} {unit} ({low:.2} .. {high:.2})")
}

fn scaled(Spread { median, low, high }: Spread, unit: Unit) -> (Spread, &'static str) {
    let (name, scale) = match (unit, median) {
        (Unit::Nanoseconds, m) if m < 1e3 => ("ns", 1.0),
        (Unit::Nanoseconds, m) if m < 1e6 => ("us", 1e3),
        (Unit::Nanoseconds, _) => ("ms", 1e6),
        (Unit::Bytes, _) => ("KiB", 1024.0),
        (Unit::Count, _) => ("", 1.0),
    };
    (Spread { median: median / scale, low: low / scale, high: high / scale }, name)
}

fn ratio(ratio: Spread) -> String {
    format!("{:.2} ({:.2} .. {:.2})", ratio.median, ratio.low, ratio.high)
}

/// Describes in one sentence the machine that this ran on.
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
