//! What the environment says about passed descriptors: the protocol of `sd_listen_fds(3)`.

use std::{
    ffi::OsString,
    sync::atomic::{AtomicBool, Ordering},
};

use super::adopt::{Found, find};

/// The number of the first passed descriptor.
const FIRST: i32 = 3;
/// The name of a descriptor without a name, by `sd_listen_fds_with_names(3)`.
pub(super) const UNKNOWN: &str = "unknown";
/// The names of descriptors that the service itself has put into the store of its manager begin with this.
const STORED: &str = "interloop/";

/// Whether the environment was read. Its descriptors are there once, for the first service that runs as the process.
static READ: AtomicBool = AtomicBool::new(false);

/// The descriptors that the environment announces.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    pub(super) passed: Vec<Passed>,
    /// What is wrong with the environment.
    pub(super) problem: Option<String>,
    /// Whether the service may take descriptors: it is the process.
    pub(super) is_process: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) number: i32,
    pub(super) name: String,
}

impl Passed {
    /// Whether the service itself has stored it.
    pub(super) fn is_stored(&self) -> bool {
        self.name.starts_with(STORED)
    }
}

impl Announced {
    /// Reads the environment of the process, for the first service that runs as the process.
    pub(crate) fn read() -> Self {
        if READ.swap(true, Ordering::SeqCst) {
            return Self { is_process: true, ..Self::default() };
        }
        Self::told(|variable| std::env::var_os(variable), std::process::id()).seen()
    }

    /// Looks at the descriptors, before the process opens others that would get their numbers.
    fn seen(mut self) -> Self {
        // What is the process's own was taken by the program, before it ran the service.
        self.passed.retain(|passed| match find(passed.number) {
            Found::Inherited => true,
            Found::Own => false,
            Found::Closed => {
                let closed = || format!("LISTEN_FDS passes descriptor {}, but it is not open", passed.number);
                self.problem.get_or_insert_with(closed);
                false
            }
        });
        self
    }

    fn told(variable: impl Fn(&str) -> Option<OsString>, process: u32) -> Self {
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned());
        match listen_fds(text, process) {
            Ok(passed) => Self { passed, problem: None, is_process: true },
            Err(problem) => Self { passed: Vec::new(), problem: Some(problem), is_process: true },
        }
    }
}

fn listen_fds(text: impl Fn(&str) -> Option<String>, process: u32) -> Result<Vec<Passed>, String> {
    let Some(pid) = text("LISTEN_PID") else { return Ok(Vec::new()) };
    match pid.parse::<u32>() {
        Ok(pid) if pid == process => {}
        // They are for another process; the variables were inherited.
        Ok(_) => return Ok(Vec::new()),
        Err(_) => return Err(format!("LISTEN_PID must be a process number, but is {pid:?}")),
    }
    let Some(count) = text("LISTEN_FDS") else { return Ok(Vec::new()) };
    let count = match count.parse::<i32>() {
        Ok(count @ 0..) if count < i32::MAX - FIRST => count,
        _ => return Err(format!("LISTEN_FDS must be a number of descriptors, but is {count:?}")),
    };
    let Some(names) = text("LISTEN_FDNAMES") else {
        let unnamed = |number| Passed { number, name: UNKNOWN.to_owned() };
        return Ok((FIRST..FIRST + count).take(MOST).map(unnamed).collect());
    };
    let names = names.split(':').collect::<Vec<_>>();
    if names.len() != usize::try_from(count).unwrap_or_default() && count > 0 {
        return Err(format!("LISTEN_FDS is {count}, but the number of names in LISTEN_FDNAMES is {}", names.len()));
    }
    let named = (FIRST..FIRST + count).zip(names);
    Ok(named.map(|(number, name)| Passed { number, name: name.to_owned() }).collect())
}

/// Of a false number, the first descriptors show that it is false.
const MOST: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(variables: &[(&str, &str)]) -> Result<Vec<(i32, String)>, String> {
        let variable = |name: &str| Some(variables.iter().find(|(known, _)| *known == name)?.1.into());
        let Announced { passed, problem, is_process } = Announced::told(variable, 7);
        assert!(is_process);
        problem.map_or_else(|| Ok(passed.into_iter().map(|passed| (passed.number, passed.name)).collect()), Err)
    }

    #[test]
    fn descriptors_are_numbered_from_3_in_the_order_of_their_names() {
        let three_and_four = [("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "http:a,b")];
        assert_eq!(told(&three_and_four), Ok(vec![(3, "http".into()), (4, "a,b".into())]));
        let unnamed = [("LISTEN_PID", "7"), ("LISTEN_FDS", "1")];
        assert_eq!(told(&unnamed), Ok(vec![(3, "unknown".into())]));
        let empty = [("LISTEN_PID", "7"), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "")];
        assert_eq!(told(&empty), Ok(vec![(3, String::new())]));
        // systemd-socket-activate without sockets, and a manager that passes none.
        let none = [("LISTEN_PID", "7"), ("LISTEN_FDS", "0"), ("LISTEN_FDNAMES", "")];
        assert_eq!(told(&none), Ok(Vec::new()));
    }

    #[test]
    fn descriptors_of_another_process_are_ignored() {
        for pid in ["8", "0", "4294967295"] {
            assert_eq!(told(&[("LISTEN_PID", pid), ("LISTEN_FDS", "nonsense")]), Ok(Vec::new()), "{pid}");
        }
        assert_eq!(told(&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "http")]), Ok(Vec::new()));
        assert_eq!(told(&[("LISTEN_PID", "7")]), Ok(Vec::new()));
    }

    #[test]
    fn nonsense_is_told_with_the_variable() {
        for pid in ["", "x", "-1", "7 ", "7.0", "4294967296"] {
            let why = format!("LISTEN_PID must be a process number, but is {pid:?}");
            assert_eq!(told(&[("LISTEN_PID", pid), ("LISTEN_FDS", "1")]), Err(why));
        }
        for count in ["", "x", "-1", "1 ", "1.5", "2147483647", "99999999999"] {
            let why = format!("LISTEN_FDS must be a number of descriptors, but is {count:?}");
            assert_eq!(told(&[("LISTEN_PID", "7"), ("LISTEN_FDS", count)]), Err(why));
        }
        // Without end, it must not be a million names.
        assert_eq!(told(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2147483000")]).unwrap().len(), MOST);
        for (names, count) in [("http", 1), ("a:b:c", 3), ("", 1), ("a:b:", 3)] {
            let why = format!("LISTEN_FDS is 2, but the number of names in LISTEN_FDNAMES is {count}");
            assert_eq!(told(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", names)]), Err(why));
        }
    }
}
