//! Options of the service, its loops and its tasks: how they are read and changed while the service runs.
//!
//! Each owner declares its options as [`clap::Args`]. Values come from the command line, the environment, systemd's
//! credentials, a TOML file and code. [`Options`] reads and sets them from any thread; [`OptionChanges`] tells a task
//! of changes; a [`Secret`] is never shown; [`duration`] parses `1m30s`.
//! [`docs/options.md`](https://docs.rs/crate/interloop/latest/source/docs/options.md) describes them in full.

// Each owner (the service, a loop, a task) declares its options as plain derived `clap::Args` and never learns that it
// shares a command line. This room combines them in four steps:
//
// 1. Every option becomes a `Flag`: `port` of the task `http` of the service `hello` is `--http-port` on the command
//    line and `HELLO__HTTP__PORT` in the environment. If two options claim the same name (`claims`), that is an error,
//    in release builds too.
// 2. All flags form one common `clap::Command`, which only collects and checks values one by one, and prints the help.
// 3. The `layers` are asked in turn, the strongest first: the command line, the environment (a variable, the file that
//    it names, or the variable that the option itself names), systemd's credentials, the `file` of `--config`; then the
//    values set in code. Values set while the service runs (`live`) are stronger than all of them.
// 4. The winners are replayed (`replay`) into the owner's own `Command`, where its constraints (conflicts, groups,
//    requirements) apply as declared, and from whose matches its `Args` are read.
//
// Step 4 is done section by section, for those that are needed: the requirements of a task that was not selected are
// not enforced. A file is checked as a whole. While the service runs, steps 3 and 4 are repeated (`live`): all sections
// are replayed before the first `cell` gets its new values.
//
// May use: kit, words, logging.

mod cell;
mod changes;
mod claims;
mod defaults;
mod duration;
#[cfg(feature = "config")]
mod file;
mod flag;
mod given;
mod layers;
mod live;
mod on_reload;
mod origin;
mod own;
mod parse;
mod plan;
mod replay;
mod rereads;
mod secret;
mod section;
mod show;
mod standard;
mod stop;
#[cfg(test)]
mod tests;
mod wording;

#[cfg(all(any(feature = "command", feature = "supervised"), target_os = "linux"))]
pub(crate) use self::flag::variable;
#[cfg(all(feature = "command", target_os = "linux"))]
pub(crate) use self::standard::Init;
pub use self::{
    cell::Applied,
    changes::OptionChanges,
    defaults::OptionDefaults,
    duration::duration,
    flag::OptionKind,
    live::{OptionChange, OptionError, OptionValue, Reloaded},
    on_reload::OnReload,
    origin::Origin,
    secret::Secret,
};
pub(crate) use self::{
    cell::{Check, OptionCell},
    layers::Env,
    live::{Host, LOOP_ID, Live},
    own::parse_own,
    parse::{Parsed, parse},
    section::{Owner, Section, ServiceAbout},
    standard::{CoreOptions, SHUTDOWN_TIMEOUT},
    stop::Stop,
};
pub use crate::control::options::Options;
