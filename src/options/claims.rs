//! Every name belongs to one option.
//!
//! A prefix can't keep names apart in every case: `port-x` of the task `http` and `x` of the task `http-port` are both
//! `--http-port-x`. Without debug assertions, clap silently lets the first of them win, so this is checked here, in
//! every build.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use super::{
    flag::Flag,
    plan::Plan,
    section::{Section, ServiceAbout},
    standard::NOT_IN_FILE,
};

/// Refuses flags, environment variables and file keys that two options claim, and names both. A variable that names a
/// file gives way to an option with that name.
pub(super) fn check(about: &ServiceAbout, plans: &mut [Plan]) -> Result<(), String> {
    let mut claims = Claims::default();
    for (name, letter) in [("help", 'h')].into_iter().chain(about.version.is_some().then_some(("version", 'V'))) {
        claims.claim(format!("--{name}"), By::Interloop(name))?;
        claims.claim(format!("-{letter}"), By::Interloop(name))?;
    }
    let mut in_file = BTreeSet::new();
    for Plan { section, flags, .. } in &*plans {
        // A loop for a single task has the task's name, and they share a section.
        if section.is_prefixed() && in_file.insert(&section.name) {
            claims.claim(format!("{} in a file", section.name), By::Section(section))?;
        }
        for flag in flags {
            let by = By::Flag(flag, section);
            claims.claim(flag.variable.clone(), by)?;
            for long in flag.long.iter().cloned().chain(flag.aliases(section).map(|(alias, _)| alias)) {
                claims.claim(format!("--{long}"), by)?;
            }
            if !section.is_prefixed() {
                if !NOT_IN_FILE.contains(&flag.name.as_str()) {
                    claims.claim(format!("{} in a file", flag.path), by)?;
                }
                let aliases = flag.declared.get_all_short_aliases().unwrap_or_default();
                for short in flag.declared.get_short().into_iter().chain(aliases) {
                    claims.claim(format!("-{short}"), by)?;
                }
            }
        }
    }
    let of_files = plans.iter().flat_map(|plan| &plan.flags).filter_map(|flag| flag.file_variable.as_ref());
    let taken: BTreeSet<String> = of_files.filter(|variable| claims.0.contains_key(*variable)).cloned().collect();
    for flag in plans.iter_mut().flat_map(|plan| &mut plan.flags) {
        flag.file_variable.take_if(|variable| taken.contains(variable));
    }
    Ok(())
}

/// The claimant of a name.
#[derive(Clone, Copy)]
enum By<'a> {
    Interloop(&'static str),
    Section(&'a Section),
    Flag(&'a Flag, &'a Section),
}

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interloop(option) => write!(f, "option {option} of Interloop"),
            Self::Section(section) => f.write_str(&section.owner()),
            Self::Flag(flag, section) => write!(f, "option {} of {}", flag.name, section.owner()),
        }
    }
}

#[derive(Default)]
struct Claims<'a>(HashMap<String, By<'a>>);

impl<'a> Claims<'a> {
    fn claim(&mut self, name: String, by: By<'a>) -> Result<(), String> {
        match self.0.get(&name) {
            Some(first) => Err(format!("{name} would mean two things: {first}, and {by}")),
            None => {
                self.0.insert(name, by);
                Ok(())
            }
        }
    }
}
