//! A service with child processes, as `CHILDREN` says, of the shell script in `SCRIPT`: for the tests of what becomes of them.

use std::process::ExitCode;

use interloop::{
    Service, Thread,
    tasks::{Command, Run},
};

fn main() -> ExitCode {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let run = {
        let script = variable("SCRIPT");
        move || Run::new("sh").args(["-c", &*script])
    };
    let mut service = Service::new("children");
    match &*variable("CHILDREN") {
        "task" => drop(service.task_on::<Thread>("one", Command::new(run()))),
        kind => {
            eprintln!("there is no kind {kind:?}");
            return ExitCode::FAILURE;
        }
    }
    service.run()
}
