//! Which task has which of the passed descriptors.

use super::{
    adopt as system,
    environment::{Announced, Passed, UNKNOWN},
    name::{Inherited, Wanted},
};
use crate::reactor::bind::Bound;

/// A server: a task with an option that names inherited sockets.
#[derive(Clone, Debug)]
pub(crate) struct Claimant {
    pub(crate) task: String,
    /// The option's name, as on the command line.
    pub(crate) option: String,
    /// Whether the task runs; `--tasks` may leave it out.
    pub(crate) is_selected: bool,
    pub(crate) wants: Vec<Inherited>,
}

/// The sockets of each server, in the order of the servers, and lines for the log.
#[derive(Debug, Default)]
pub(crate) struct Assigned {
    pub(crate) sockets: Vec<Vec<Bound>>,
    pub(crate) notes: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// Who has a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Nobody,
    /// The server with this index, and whether somebody has said so.
    Of(usize, Said),
    /// It is closed: the server with this index doesn't run.
    LeftOut(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Option,
    Name,
    Alone,
}

/// The claims to all descriptors, before any of them is touched.
struct Claims<'a> {
    servers: &'a [Claimant],
    passed: Vec<(Passed, Claim)>,
}

/// Gives each server its sockets.
///
/// # Errors
///
/// Returns one line on the first descriptor that is wrong, or that nobody takes. The others may be closed by then.
pub(crate) fn assign(announced: Announced, servers: &[Claimant]) -> Result<Assigned, String> {
    if let Some(problem) = announced.problem {
        return Err(problem);
    }
    if !announced.is_process {
        return match servers.iter().find(|server| server.is_selected && !server.wants.is_empty()) {
            None => Ok(nothing(servers)),
            Some(Claimant { option, wants, .. }) => Err(format!(
                "--{option} {}: only Service::run takes inherited sockets; give the server a listener in code",
                wants[0]
            )),
        };
    }
    let mut claims = Claims::new(announced.passed, servers);
    claims.by_option()?;
    claims.by_name();
    claims.alone();
    claims.take()
}

fn nothing(servers: &[Claimant]) -> Assigned {
    Assigned { sockets: servers.iter().map(|_| Vec::new()).collect(), ..Assigned::default() }
}

impl<'a> Claims<'a> {
    fn new(passed: Vec<Passed>, servers: &'a [Claimant]) -> Self {
        Self { servers, passed: passed.into_iter().map(|passed| (passed, Claim::Nobody)).collect() }
    }

    /// Gives servers what their options name.
    fn by_option(&mut self) -> Result<(), String> {
        let servers = self.servers;
        // Servers that don't run come last: another one may want the same.
        let (run, left_out): (Vec<_>, Vec<_>) = servers.iter().enumerate().partition(|(_, server)| server.is_selected);
        for (index, server) in run {
            for wanted in &server.wants {
                self.want(index, server, wanted)?;
            }
        }
        for (index, server) in left_out {
            let wanted = |passed: &Passed| server.wants.iter().any(|wanted| is_meant(wanted, passed));
            let free = self.passed.iter_mut().filter(|(passed, claim)| *claim == Claim::Nobody && wanted(passed));
            free.for_each(|(_, claim)| *claim = Claim::LeftOut(index));
        }
        Ok(())
    }

    fn want(&mut self, index: usize, server: &Claimant, wanted: &Inherited) -> Result<(), String> {
        let option = &server.option;
        if let Wanted::Number(number) = wanted.0
            && !self.passed.iter().any(|(passed, _)| passed.number == number)
        {
            match system::find(number) {
                // A parent that passes a number need not announce it.
                system::Found::Inherited => {
                    self.passed.push((Passed { number, name: UNKNOWN.to_owned() }, Claim::Nobody));
                }
                system::Found::Own => {
                    return Err(format!(
                        "--{option} {wanted}: descriptor {number} was not inherited, or is taken already"
                    ));
                }
                system::Found::Closed => {
                    return Err(format!("--{option} {wanted}: descriptor {number} is not open"));
                }
            }
        }
        let mut is_there = false;
        for (passed, claim) in self.passed.iter_mut().filter(|(passed, _)| is_meant(wanted, passed)) {
            is_there = true;
            match *claim {
                Claim::Of(other, _) if other != index => {
                    let (other, shown) = (&self.servers[other].task, shown(passed));
                    return Err(format!("--{option} {wanted}: {shown} is taken by task {other} already"));
                }
                _ => *claim = Claim::Of(index, Said::Option),
            }
        }
        if is_there {
            return Ok(());
        }
        let known = self.passed.iter().map(|(passed, _)| shown(passed)).collect::<Vec<_>>();
        let known = if known.is_empty() {
            "no descriptor was passed".to_owned()
        } else {
            format!("there is {}", known.join(", "))
        };
        Err(format!("--{option} {wanted}: no descriptor with that name was passed; {known}"))
    }

    /// Gives servers whose options name nothing what has their name.
    fn by_name(&mut self) {
        for (passed, claim) in self.passed.iter_mut().filter(|(_, claim)| *claim == Claim::Nobody) {
            let unnamed = |server: &Claimant| server.wants.is_empty() && server.task == passed.name;
            match self.servers.iter().position(unnamed) {
                Some(index) if self.servers[index].is_selected => *claim = Claim::Of(index, Said::Name),
                Some(index) => *claim = Claim::LeftOut(index),
                None => {}
            }
        }
    }

    /// Gives the only server the only descriptor. Several sockets of one unit have one name.
    fn alone(&mut self) {
        let [server] = self.servers else { return };
        let mut others = self.passed.iter().map(|(passed, _)| passed).filter(|passed| !passed.is_stored());
        let Some(first) = others.next() else { return };
        let is_one = others.all(|other| other.name == first.name && first.name != UNKNOWN);
        if !is_one || !server.wants.is_empty() {
            return;
        }
        let claimed = if server.is_selected { Claim::Of(0, Said::Alone) } else { Claim::LeftOut(0) };
        let free = self.passed.iter_mut().filter(|(passed, claim)| *claim == Claim::Nobody && !passed.is_stored());
        free.for_each(|(_, claim)| *claim = claimed);
    }

    /// Takes the descriptors, and closes those of tasks that don't run.
    fn take(self) -> Result<Assigned, String> {
        let unclaimed = |(passed, claim): &&(Passed, Claim)| *claim == Claim::Nobody && !passed.is_stored();
        if let Some((passed, _)) = self.passed.iter().find(unclaimed) {
            let name = if passed.name.is_empty() || passed.name == UNKNOWN {
                passed.number.to_string()
            } else {
                passed.name.clone()
            };
            let servers = self.servers.iter().map(|server| format!("--{}", server.option)).collect::<Vec<_>>();
            let hint = match servers.is_empty() {
                true => "no task has an option for it".to_owned(),
                false => format!("{} fd:{name} names it", servers.join(" or ")),
            };
            return Err(format!("{} was passed to the process, but no task takes it: {hint}", shown(passed)));
        }
        let mut assigned = nothing(self.servers);
        for (passed, claim) in self.passed {
            let text = shown(&passed);
            match claim {
                Claim::Of(index, said) => {
                    let Claimant { task, option, .. } = &self.servers[index];
                    let socket = system::listener(passed.number);
                    let socket = socket.map_err(|why| format!("task {task}: {text} {why}"))?;
                    let why = match said {
                        Said::Option => format!("by --{option}"),
                        Said::Name => "by its name".to_owned(),
                        Said::Alone => "as the only server".to_owned(),
                    };
                    assigned.notes.push(format!("task {task} takes {text}, {why}"));
                    assigned.sockets[index].push(socket);
                }
                Claim::LeftOut(index) => {
                    let task = &self.servers[index].task;
                    assigned.warnings.push(format!("{text} is closed: task {task}, which takes it, is left out"));
                    system::close(passed.number);
                }
                Claim::Nobody => {
                    assigned.warnings.push(format!("{text} is closed: it was stored, and no task takes it"));
                    system::close(passed.number);
                }
            }
        }
        Ok(assigned)
    }
}

fn is_meant(wanted: &Inherited, passed: &Passed) -> bool {
    match &wanted.0 {
        Wanted::Name(name) => *name == passed.name,
        Wanted::Number(number) => *number == passed.number,
    }
}

fn shown(passed: &Passed) -> String {
    match passed.name.as_str() {
        "" | UNKNOWN => format!("descriptor {}", passed.number),
        name => format!("descriptor {} ({})", passed.number, name.escape_debug()),
    }
}
