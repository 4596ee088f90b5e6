//! Every name belongs to one option.
//!
//! A prefix can't keep names apart for sure: `port-x` of the task `http` and `x` of the task `http-port` are both
//! `--http-port-x`. Clap lets the first of them win in silence where debug assertions are off, so it is checked here,
//! in every build.

use std::collections::{BTreeSet, HashMap};

use super::{NOT_IN_FILE, Plan, ServiceAbout};

/// Refuses flags, environment variables and keys of a file that two options claim, and names both. A variable that names
/// a file gives way to an option of that name.
pub(super) fn check(about: &ServiceAbout, plans: &mut [Plan]) -> Result<(), String> {
    let mut claims = Claims::default();
    for (name, letter) in [("help", 'h')].into_iter().chain(about.version.is_some().then_some(("version", 'V'))) {
        let by = format!("option {name} of Interloop");
        claims.claim(format!("--{name}"), &by)?;
        claims.claim(format!("-{letter}"), &by)?;
    }
    let mut in_file = BTreeSet::new();
    for Plan { section, flags, .. } in &*plans {
        // A loop for one task alone has its name, and they share a section.
        if section.is_prefixed() && in_file.insert(&section.name) {
            claims.claim(format!("{} in a file", section.name), &section.owner())?;
        }
        for flag in flags {
            let by = format!("option {} of {}", flag.name, section.owner());
            claims.claim(flag.variable.clone(), &by)?;
            for long in flag.long.iter().cloned().chain(flag.aliases(section).map(|(alias, _)| alias)) {
                claims.claim(format!("--{long}"), &by)?;
            }
            if !section.is_prefixed() {
                if !NOT_IN_FILE.contains(&flag.name.as_str()) {
                    claims.claim(format!("{} in a file", flag.path), &by)?;
                }
                let aliases = flag.declared.get_all_short_aliases().unwrap_or_default();
                for short in flag.declared.get_short().into_iter().chain(aliases) {
                    claims.claim(format!("-{short}"), &by)?;
                }
            }
        }
    }
    for flag in plans.iter_mut().flat_map(|plan| &mut plan.flags) {
        flag.file_variable.take_if(|variable| claims.0.contains_key(variable));
    }
    Ok(())
}

#[derive(Default)]
struct Claims(HashMap<String, String>);

impl Claims {
    fn claim(&mut self, name: String, by: &str) -> Result<(), String> {
        match self.0.get(&name) {
            Some(first) => Err(format!("{name} would mean two things: {first}, and {by}")),
            None => {
                self.0.insert(name, by.to_owned());
                Ok(())
            }
        }
    }
}
