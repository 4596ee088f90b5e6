//! What is wrong with a loop: one thing.

/// What is wrong with a loop: one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: the loop that the others are made of.
    #[default]
    Sound,
    // How it is woken.
    LosesTheFirstWake,
    LosesAWakeNowAndThen,
    WaitsBeforeItsFirstLook,
    DeafToItself,
    DeafToOtherLoops,
    SpinsWhenIdle,
    WakesByTime,
    DiesOfASignal,
    // How it takes its turns.
    StarvesEvents,
    RestsWithJobsLeft,
    DrivenOnAnotherThread,
    DiesOfAPanic,
    // How it starts and ends.
    NeverSaysStarted,
    ForgetsTheRestart,
    EndsWhenIdle,
    NeverStops,
    FailsAtTheStop,
    LeavesWithoutALastTurn,
    HangsWhenLeftBehind,
    // How it runs futures.
    ForgetsEverySecondFuture,
    StopsWaking,
    PollsOnceAWake,
    PollsOnOtherThreads,
    // How it sleeps.
    SleepsTooShort,
    SleepsTooLong,
    SleepsOutOfOrder,
    NativeTimersNeverFire,
    // What it leaves behind.
    LeavesAThread,
    LeavesADescriptor,
    LeavesMemory,
    // How it looks at sockets.
    LooksAtSocketsOnce,
}

impl Fault {
    /// Whether it is one of an executor that the loop then has.
    pub(crate) fn is_of_executor(self) -> bool {
        use Fault::*;
        matches!(
            self,
            ForgetsEverySecondFuture
                | StopsWaking
                | PollsOnceAWake
                | PollsOnOtherThreads
                | DeafToItself
                | LeavesAThread
                | LeavesADescriptor
                | LeavesMemory
        )
    }
}
