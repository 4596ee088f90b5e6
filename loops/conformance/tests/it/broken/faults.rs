//! The faults of broken loops: each loop has one.

/// The one thing that is wrong with a loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is wrong: this is the loop that the others are made of.
    #[default]
    Sound,
    // Faults in how it is woken.
    LosesTheFirstWake,
    LosesAWakeNowAndThen,
    WaitsBeforeItsFirstLook,
    DeafToItself,
    DeafToOtherLoops,
    SpinsWhenIdle,
    WakesByTime,
    DiesOfASignal,
    // Faults in how it takes its turns.
    StarvesEvents,
    RestsWithJobsLeft,
    DrivenOnAnotherThread,
    DiesOfAPanic,
    // Faults in how it starts and ends.
    NeverSaysStarted,
    ForgetsTheRestart,
    EndsWhenIdle,
    NeverStops,
    FailsAtTheStop,
    LeavesWithoutALastTurn,
    HangsWhenLeftBehind,
    // Faults in how it runs futures.
    ForgetsEverySecondFuture,
    StopsWaking,
    PollsOnceAWake,
    PollsOnOtherThreads,
    // Faults in how it sleeps.
    SleepsTooShort,
    SleepsTooLong,
    SleepsOutOfOrder,
    NativeTimersNeverFire,
    // Faults in what it leaves behind.
    LeavesAThread,
    LeavesADescriptor,
    LeavesMemory,
    // Faults in how it looks at sockets.
    LooksAtSocketsOnce,
}

impl Fault {
    /// Whether it is a fault of an executor, which the loop then has.
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
