//! CPU profiles: samples of the whole process, as counted stacks.

use std::{collections::BTreeMap, fmt::Write};

#[cfg(feature = "profile")]
use crate::Refused;

/// The stacks that the process's threads ran while they were [sampled](crate::Base::cpu_profile), 99 times in each
/// second of CPU time.
///
/// Threads that waited are not included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuProfile {
    /// By their stacks: `thread;outermost;...;innermost`.
    pub(crate) samples: BTreeMap<String, u64>,
}

impl CpuProfile {
    /// Returns a line for each stack, with the number of its samples: `http;main;serve 42`. It begins with the name of
    /// the thread, and ends with the innermost function. `flamegraph.pl`, inferno and speedscope read this. Empty if no
    /// thread ran.
    pub fn folded(&self) -> String {
        self.samples.iter().fold(String::new(), |mut folded, (stack, count)| {
            let _ = writeln!(folded, "{stack} {count}");
            folded
        })
    }

    /// Returns the number of samples: one stands for about 10 ms of one CPU.
    pub fn histogram(&self) -> u64 {
        self.samples.values().sum()
    }

    /// Returns a flame graph: a standalone SVG for a browser, with zoom and search.
    ///
    /// # Errors
    ///
    /// Returns an error if there are no samples to draw.
    #[cfg(feature = "profile")]
    pub fn flame_graph(&self, title: &str) -> Result<String, Refused> {
        if self.samples.is_empty() {
            return Err(Refused::new("no thread ran"));
        }
        let mut options = inferno::flamegraph::Options::default();
        title.clone_into(&mut options.title);
        let mut svg = Vec::new();
        inferno::flamegraph::from_lines(&mut options, self.folded().lines(), &mut svg)
            .map_err(|error| Refused::new(format!("no flame graph can be drawn: {error}")))?;
        String::from_utf8(svg).map_err(|error| Refused::new(format!("the flame graph is no text: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_folded_a_line_each() {
        let samples = [("web;main;serve".to_owned(), 3), ("web;main".to_owned(), 1)].into();
        let profile = CpuProfile { samples };
        assert_eq!((profile.folded().as_str(), profile.histogram()), ("web;main 1\nweb;main;serve 3\n", 4));
        assert_eq!((CpuProfile::default().folded().as_str(), CpuProfile::default().histogram()), ("", 0));
    }

    #[cfg(feature = "profile")]
    #[test]
    fn a_flame_graph_has_the_names_and_is_not_drawn_of_nothing() {
        let samples = [("web;main<u8>".to_owned(), 3)].into();
        let svg = CpuProfile { samples }.flame_graph("shop & co").expect("there are samples");
        assert!(svg.starts_with("<?xml") && svg.contains("main&lt;u8&gt;") && svg.contains("shop &amp; co"), "{svg}");
        assert_eq!(CpuProfile::default().flame_graph("shop"), Err(Refused::new("no thread ran")));
    }
}
