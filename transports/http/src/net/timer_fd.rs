//! A descriptor that becomes readable at a certain time. A loop's own timers may cost it something at each turn; this
//! costs nothing until it rings.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

pub(super) fn create() -> io::Result<OwnedFd> {
    Ok(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?)
}

pub(super) fn set(fd: impl AsFd, time: Option<Instant>) -> io::Result<()> {
    let rest = time.map(|time| time.saturating_duration_since(Instant::now()));
    // Zero would disarm it.
    let rest = rest.map_or(Duration::ZERO, |rest| rest.max(Duration::from_nanos(1)));
    let once = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: rest.try_into().unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }),
    };
    timerfd_settime(fd, TimerfdTimerFlags::empty(), &once)?;
    Ok(())
}

/// Returns whether the time has come. Once it has returned true, it waits for the next time.
pub(super) fn has_rung(fd: impl AsFd) -> io::Result<bool> {
    match rustix::io::read(fd, &mut [0; 8]) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
