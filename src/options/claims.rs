//! Every name belongs to one option.
//!
//! A prefix can't keep names apart for sure: `port-x` of the task `http` and `x` of the task `http-port` are both
//! `--http-port-x`. Clap lets the first of them win in silence where debug assertions are off, so it is checked here,
//! in every build.

use std::collections::HashMap;

use super::{Plan, ServiceAbout};

/// Refuses flags and environment variables that two options claim, and names both.
pub(super) fn check(about: &ServiceAbout, plans: &[Plan]) -> Result<(), String> {
    let mut claims = Claims::default();
    for (name, letter) in [("help", 'h')].into_iter().chain(about.version.is_some().then_some(("version", 'V'))) {
        let by = format!("option {name} of Interloop");
        claims.claim(format!("--{name}"), &by)?;
        claims.claim(format!("-{letter}"), &by)?;
    }
    for Plan { section, flags, .. } in plans {
        for flag in flags {
            let by = format!("option {} of {}", flag.name, section.owner());
            claims.claim(flag.variable.clone(), &by)?;
            for long in flag.long.iter().cloned().chain(flag.aliases(section).map(|(alias, _)| alias)) {
                claims.claim(format!("--{long}"), &by)?;
            }
            if !section.is_prefixed() {
                let aliases = flag.declared.get_all_short_aliases().unwrap_or_default();
                for short in flag.declared.get_short().into_iter().chain(aliases) {
                    claims.claim(format!("-{short}"), &by)?;
                }
            }
        }
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
