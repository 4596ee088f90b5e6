//! Tuples of loops, for tasks that choose theirs at run time.

use clap::{Args, Command};

use crate::{
    EventLoop, Task,
    options::OptionDefaults,
    task::{
        Offer,
        erased::{AnyTask, LoopSpec, Make, TaskOf},
    },
};

/// A tuple of loops on each of which a task can run with the same options: see
/// [`Service::task_any`](crate::Service::task_any).
///
/// Implemented for tuples of one to eight loops; sealed, because its methods are internal to the service.
pub trait LoopSet<T>: sealed::Sealed {
    #[doc(hidden)]
    fn specs() -> Vec<LoopSpec>;
    #[doc(hidden)]
    fn augment(command: Command) -> Command;
    #[doc(hidden)]
    fn offer(task: &T) -> Option<Offer>;
    #[doc(hidden)]
    fn defaults(task: &T) -> OptionDefaults;
    #[doc(hidden)]
    fn task(index: usize, make: Make<T>) -> AnyTask;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! loop_set {
    ($($index:literal $name:ident),+) => {
        impl<$($name: EventLoop),+> sealed::Sealed for ($($name,)+) {}

        impl<O: Args, T: $(Task<$name, Options = O> +)+, $($name: EventLoop),+> LoopSet<T> for ($($name,)+) {
            fn specs() -> Vec<LoopSpec> {
                vec![$(LoopSpec::of::<$name>()),+]
            }

            fn augment(command: Command) -> Command {
                O::augment_args(command)
            }

            fn offer(task: &T) -> Option<Offer> {
                <T as Task<A>>::offer(task)
            }

            fn defaults(task: &T) -> OptionDefaults {
                <T as Task<A>>::defaults(task)
            }

            fn task(index: usize, make: Make<T>) -> AnyTask {
                match index {
                    $($index => AnyTask(TaskOf::<$name, T>::boxed(make)),)+
                    _ => unreachable!("the index is one of `specs`"),
                }
            }
        }
    };
}

loop_set!(0 A);
loop_set!(0 A, 1 B);
loop_set!(0 A, 1 B, 2 C);
loop_set!(0 A, 1 B, 2 C, 3 D);
loop_set!(0 A, 1 B, 2 C, 3 D, 4 E);
loop_set!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F);
loop_set!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G);
loop_set!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H);
