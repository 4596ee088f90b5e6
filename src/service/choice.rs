//! The loops that a task can run on.

use clap::Command;

use super::loop_set::LoopSet;
use crate::{
    event_loop::contract::EventLoop,
    options::LOOP_ID,
    task::{
        erased::{ErasedTask, LoopSpec, Make, TaskOf},
        task_trait::Task,
    },
};

/// The option by which a task chooses its loop at run time.
const LOOP: &str = "loop";

/// A loop that a task can run on.
pub(super) struct Choice {
    pub(super) spec: LoopSpec,
    pub(super) make: Box<dyn FnOnce() -> Box<dyn ErasedTask> + Send>,
}

pub(super) fn choice<L: EventLoop, T: Task<L>>(make: Make<T>) -> Choice {
    Choice { spec: LoopSpec::of::<L>(), make: Box::new(move || TaskOf::<L, T>::boxed(make)) }
}

/// Returns a choice for each kind of loop; the chosen one makes the task.
pub(super) fn choices_of<S: LoopSet<T>, T: Send + 'static>(make: Make<T>) -> Vec<Choice> {
    let specs = S::specs();
    let makes = make.for_each_of(specs.len());
    let choose = |(index, (spec, make))| Choice { spec, make: Box::new(move || S::task(index, make).0) };
    specs.into_iter().zip(makes).enumerate().map(choose).collect()
}

/// Returns the command with the task's options and the option that chooses its loop.
pub(super) fn command_of<S: LoopSet<T>, T>(command: Command) -> Command {
    let names = S::specs().iter().map(|spec| spec.kind).collect::<Vec<_>>();
    let flag = clap::Arg::new(LOOP_ID).long(LOOP).value_name("LOOP").help("The loop that it runs on");
    let flag = flag.default_value(names[0]).value_parser(clap::builder::PossibleValuesParser::new(names));
    S::augment(command).arg(flag)
}
