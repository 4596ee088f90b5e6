//! The owners of options, and their declarations.

use std::fmt;

use clap::Command;

/// The owner that declares options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Interloop itself: the options that every service has.
    Core,
    /// The service: its own options, without a prefix. Only it may have short flags and positional arguments.
    Service,
    Loop,
    Task,
}

/// The options of one owner.
#[derive(Clone)]
pub(crate) struct Section {
    pub(crate) kind: Owner,
    /// Empty for the service and for Interloop.
    pub(crate) name: String,
    /// A bare `Command`, augmented with the owner's derived `Args`.
    pub(crate) command: Command,
    /// Values that the owner itself has from code, in the same form; values that are set in code beside it replace
    /// them.
    pub(crate) built: Vec<(String, String)>,
    /// Values set in code: the option's long name without a prefix, and the value as one would type it. Options that
    /// may be given several times collect their entries; for others the last one counts.
    pub(crate) defaults: Vec<(String, String)>,
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values set in code, and declared defaults, may be secrets.
        f.debug_struct("Section").field("kind", &self.kind).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Section {
    /// Returns the owner's name for messages: "task http", "the service".
    pub(super) fn owner(&self) -> String {
        match self.kind {
            Owner::Core => "Interloop".to_owned(),
            Owner::Service => "the service".to_owned(),
            Owner::Loop => format!("loop {}", self.name),
            Owner::Task => format!("task {}", self.name),
        }
    }

    pub(super) fn is_prefixed(&self) -> bool {
        matches!(self.kind, Owner::Loop | Owner::Task)
    }

    /// Returns the reason why these `Args` can't share a command line.
    pub(super) fn refusal(&self) -> Option<String> {
        if let Some(subcommand) = self.command.get_subcommands().next() {
            return Some(format!("the options of {} can't have subcommands: {}", self.owner(), subcommand.get_name()));
        }
        let positional = self.command.get_positionals().next().filter(|_| self.is_prefixed())?;
        Some(format!("the options of {} can't have positional arguments: {}", self.owner(), positional.get_id()))
    }
}

/// The texts about the service in the help and in messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceAbout {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) about: Option<String>,
    /// Whether the program has its own logger: then Interloop's options for logging are absent.
    pub(crate) has_own_logger: bool,
}
