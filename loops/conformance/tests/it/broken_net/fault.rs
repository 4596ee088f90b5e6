//! The possible faults of a loop's sockets, and what the parts of the broken loop share.

use std::cell::Cell;

/// The one thing that is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is wrong: this is the loop that the others are made of.
    #[default]
    Nothing,
    DropsAByteNowAndThen,
    SwapsTwoBytes,
    WakesOneHalfOnly,
    LeavesTheUnixSocketsFile,
    GoesOnSendingAfterAClose,
    TakesAResetForTheEnd,
    AcceptsAHundred,
    MisnamesARefusal,
    IsSilentAboutARefusal,
    LosesWhatADroppedAcceptTook,
    SeesOneBatchOfEvents,
    ForgetsTheEndAfterAShortRead,
    TellsThatItCanBeWrittenOnce,
    TellsReadinessWithoutEnd,
    IsSilentAboutUrgentData,
    TellsThatItCanBeReadOnce,
    WatchesNothingForServers,
    KeepsOneTimer,
    BeginsTimersAnewBesideSockets,
    StarvesSockets,
    LooksAtSocketsByTime,
    SpinsBesideOpenSockets,
    LeaksADescriptorAConnection,
    WatchesAStreamOnce,
    HoldsBackWhatItHasRead,
    ResetsAtTheClose,
}

/// Shared state: one for each run of the loop, on its thread.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) fault: Fault,
    /// The number of streams that had something to read since the reactor's last turn.
    pub(crate) read_in_turn: Cell<usize>,
    /// The number of reads and writes that have moved something.
    pub(crate) moved: Cell<u64>,
    /// The timer that was set last.
    pub(crate) last_timer: Cell<u64>,
}

impl Shared {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault, read_in_turn: Cell::new(0), moved: Cell::new(0), last_timer: Cell::new(0) }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }
}
