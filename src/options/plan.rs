//! A section with its flags, and their given values.

use super::{
    flag::Flag,
    given::{Given, is_masked},
    secret,
    section::{Owner, Section},
    standard::{FOR_LOGGING, OWN_LOGGER},
};
use crate::words::names;

/// A planned section: its flags, and their given values.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The index of the section; `None` for Interloop's own options.
    pub(super) place: Option<usize>,
    pub(super) section: Section,
    pub(super) flags: Vec<Flag>,
    /// The values of the layers; as long as `flags`.
    pub(super) given: Vec<Option<Given>>,
    /// The values set while the service runs; as long as `flags`.
    pub(super) set: Vec<Option<Given>>,
}

impl Plan {
    pub(super) fn new(service: &str, place: Option<usize>, section: Section) -> Result<Self, String> {
        if let Some(refusal) = section.refusal() {
            return Err(refusal);
        }
        let mut flags = Flag::all(service, place, &section);
        let owner = section.owner();
        // Values set beside the owner replace the owner's own; several of them for one option add up.
        let is_set = |option: &str| section.defaults.iter().any(|(set, _)| set == option);
        let built = section.built.iter().filter(|(option, _)| !is_set(option));
        for (option, value) in built.chain(&section.defaults) {
            let Some(flag) = flags.iter_mut().find(|flag| flag.name == *option) else {
                if section.kind == Owner::Core && FOR_LOGGING.contains(&option.as_str()) {
                    return Err(format!("option {option}, set in code: {OWN_LOGGER}"));
                }
                let meant = names::meant_or_all(option, flags.iter().map(|flag| flag.name.as_str()));
                return Err(format!("{owner} has no option {option}, which is set in code; {meant}"));
            };
            flag.set_in_code(value).map_err(|why| format!("{owner}: option {option}, set in code: {why}"))?;
        }
        let none = vec![None; flags.len()];
        Ok(Self { place, section, flags, given: none.clone(), set: none })
    }

    /// Removes hidden values from a message about this section, whose author may not know of them.
    pub(super) fn redacted(&self, message: String) -> String {
        let masked = self.effective().filter(|(flag, given)| is_masked(flag, *given));
        let values = masked.flat_map(|(flag, given)| {
            let occurrences = given.and_then(|given| given.occurrences(flag).ok()).unwrap_or_default();
            let values = occurrences.into_iter().flat_map(|occurrence| occurrence.values);
            values.chain(flag.code.clone()).collect::<Vec<_>>()
        });
        secret::redacted(message, values.map(|value| value.to_string_lossy().into_owned()))
    }

    /// Returns the value in force for each flag.
    pub(super) fn effective(&self) -> impl Iterator<Item = (&Flag, Option<&Given>)> {
        let given = self.set.iter().zip(&self.given).map(|(set, given)| set.as_ref().or(given.as_ref()));
        self.flags.iter().zip(given)
    }
}
