//! The service's own options, read before those of its tasks are known.

use std::ffi::{OsStr, OsString};

use clap::ArgMatches;

use super::{
    flag::Flag,
    layers::Env,
    parse::parse_known,
    section::{Section, ServiceAbout},
    standard::CoreOptions,
    stop::Stop,
};

/// Parses the service's own section, as far as arguments and files are about it.
pub(crate) fn parse_own(
    about: &ServiceAbout,
    own: Section,
    defaults: &[(String, String)],
    words: &[OsString],
    env: Env,
) -> Result<ArgMatches, Stop> {
    let mut known = Flag::all(&about.name, None, &CoreOptions::section(about, &[]));
    known.extend(Flag::all(&about.name, Some(0), &own));
    let words = of_these(words, &known, &own);
    parse_known(about, vec![own], defaults, words, env)?.matches(0)
}

/// Returns the arguments that are about these flags.
fn of_these(words: &[OsString], flags: &[Flag], own: &Section) -> Vec<OsString> {
    let has_positionals = flags.iter().any(|flag| flag.long.is_none());
    let mut kept = Vec::new();
    let mut words = words.iter().peekable();
    // Whether an argument that is no option may be the value of an option that is not ours.
    let mut is_value = false;
    while let Some(word) = words.next() {
        let bytes = word.as_encoded_bytes();
        if bytes == b"--" {
            if has_positionals {
                kept.push(word.clone());
                kept.extend(words.cloned());
            }
            break;
        }
        if !bytes.starts_with(b"-") || bytes == b"-" {
            if has_positionals && !is_value {
                kept.push(word.clone());
            }
            is_value = false;
            continue;
        }
        let text = word.to_string_lossy();
        let found = flags.iter().find(|flag| is_meant(flag, &text, own));
        is_value = found.is_none() && !text.contains('=');
        let Some(flag) = found else { continue };
        kept.push(word.clone());
        let takes = if text.contains('=') || is_joined(&text) { 0 } else { flag.num_args().max_values() };
        for _ in 0..takes {
            let is_option = |word: &OsStr| word.as_encoded_bytes().starts_with(b"-") && word.len() > 1;
            match words.next_if(|word| !is_option(word) || flag.declared.is_allow_hyphen_values_set()) {
                Some(value) => kept.push(value.clone()),
                None => break,
            }
            if flag.num_args().max_values() == 1 {
                break;
            }
        }
    }
    kept
}

/// Whether this is a short option with its value, or several: `-p80`.
fn is_joined(word: &str) -> bool {
    !word.starts_with("--") && word.chars().count() > 2
}

fn is_meant(flag: &Flag, word: &str, own: &Section) -> bool {
    let name = word.split('=').next().unwrap_or(word);
    if let Some(long) = name.strip_prefix("--") {
        let is_alias = || flag.aliases(own).any(|(alias, _)| alias == long);
        return flag.long.as_deref() == Some(long) || is_alias();
    }
    let letter = name.chars().nth(1);
    let aliases = flag.declared.get_all_short_aliases().unwrap_or_default();
    letter.is_some_and(|letter| flag.declared.get_short() == Some(letter) || aliases.contains(&letter))
}
