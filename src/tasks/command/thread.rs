//! The thread that starts a task's children, watches them, and reads and writes their pipes: one thread for all of
//! them, on any loop.
//!
//! A child's stages: its guard gets ready; it runs; it has ended, and the processes that it left in its group end. When
//! the group is empty, the thread reads the rest of the pipes, kills the guard, tells those who wait, and forgets the
//! child.
//!
//! A child's output is read while there is room for it. Without room the pipe is not watched, until a reader rings the
//! bell.

use std::{
    collections::BTreeMap,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Child, ExitStatus},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, Timespec, epoll, eventfd},
    io::{Errno, ioctl_fionbio, read, write},
    process::{Pid, Signal, WaitId, WaitIdOptions, waitid},
};
use signal_hook::consts::{SIGTTIN, SIGTTOU};

use super::{
    super::common::{catch, lock},
    Bounds,
    core::{Core, Order, Start, ring},
    error::CommandError,
    events::ChildEvents,
    guard::Guard,
    life::Life,
    terminal::Terminal,
};
use crate::{
    Context, EventLoop, Result, Shutdown,
    counters::{Counter, Gauge},
    task::TaskThread,
};

/// How much is read at a time.
const PIECE: usize = 16 * 1024;
/// How often one pipe is read or written before others have their turn.
const TURNS: u32 = 4;
/// The most that a pipe holds, unless a privileged process has enlarged it.
const PIPE: usize = 1024 * 1024;

/// The options of a look for stopped children.
const STOPS: WaitIdOptions = WaitIdOptions::STOPPED.union(WaitIdOptions::CONTINUED).union(WaitIdOptions::NOHANG);

/// The kind of a key, added to the child's number.
const GUARD: u64 = 0;
const CHILD: u64 = 1;
const STDOUT: u64 = 2;
const STDERR: u64 = 3;
const STDIN: u64 = 4;
const MEMBER: u64 = 5;
const KINDS: u64 = 8;
const BELL: u64 = u64::MAX;
/// Something has happened to a child; it may have been stopped.
const EVENTS: u64 = u64::MAX - 1;

/// The task's side of the thread. When this is dropped, all children are killed.
pub(super) struct Crew {
    wish: Arc<Wish>,
    /// Ready when the thread has ended.
    pub(super) end: TaskThread,
}

struct Wish {
    bell: Arc<OwnedFd>,
    inner: Mutex<Wanted>,
}

#[derive(Clone, Copy, Default)]
struct Wanted {
    /// The children must end, and may take this long.
    stop: Option<Duration>,
    /// The children must end at once.
    abort: bool,
}

impl Wish {
    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut lock(&self.inner));
        ring(&self.bell);
    }
}

impl Crew {
    /// Starts the thread of this task.
    pub(super) fn start<L: EventLoop, O>(cx: &Context<L, O>, core: &Arc<Core>, bounds: Bounds) -> Result<Self> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let wish = Arc::new(Wish { bell: bell.clone(), inner: Mutex::default() });
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // Each ring is an edge: the bell need never be read.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &bell, epoll::EventData::new_u64(BELL), flags)?;
        // A pidfd only tells of the end.
        let events = ChildEvents::listen()?;
        epoll::add(&epoll, &events.stream, epoll::EventData::new_u64(EVENTS), epoll::EventFlags::IN)?;
        let watch = Watch {
            core: core.clone(),
            wish: wish.clone(),
            epoll,
            events,
            entries: BTreeMap::new(),
            shutdown: cx.shutdown(),
            target: cx.target().to_owned(),
            bounds,
            stops: false,
            aborts: false,
            figures: Figures::of(cx),
        };
        core.open(&bell, cx);
        match cx.thread("children", move || watch.run()) {
            Ok(end) => Ok(Self { wish, end }),
            Err(error) => {
                core.close(&bell);
                Err(error.into())
            }
        }
    }

    /// Ends the children by TERM, and by KILL after this time; starts no more.
    pub(super) fn stop(&self, patience: Duration) {
        self.wish.change(|wanted| wanted.stop = Some(patience));
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.wish.change(|wanted| wanted.abort = true);
    }
}

struct Figures {
    started: Counter,
    finished: Counter,
    spawn_failures: Counter,
    killed: Counter,
    stopped: Counter,
    running: Gauge,
}

impl Figures {
    fn of<L: EventLoop, O>(cx: &Context<L, O>) -> Self {
        Self {
            started: cx.counter("started"),
            finished: cx.counter("finished"),
            spawn_failures: cx.counter("spawn_failures"),
            killed: cx.counter("killed"),
            stopped: cx.counter("stopped"),
            running: cx.gauge("running"),
        }
    }
}

/// The state of the thread.
struct Watch {
    core: Arc<Core>,
    wish: Arc<Wish>,
    epoll: OwnedFd,
    events: ChildEvents,
    entries: BTreeMap<u64, Entry>,
    shutdown: Shutdown,
    /// The target of log lines.
    target: String,
    bounds: Bounds,
    stops: bool,
    aborts: bool,
    figures: Figures,
}

/// A child, from its guard's start until nothing is left. Its guard is dropped first, except for the terminal: nothing
/// is left of the guard when those who wait are told.
struct Entry {
    terminal: Option<Terminal>,
    wants_terminal: bool,
    guard: Guard,
    life: Arc<Life>,
    stage: Stage,
    outputs: [Pipe; 2],
    input: Pipe,
    /// TERM has been sent.
    is_asked: bool,
    is_killed: bool,
    kill_at: Option<Instant>,
}

enum Stage {
    Guarded(Option<Box<Start>>),
    Running {
        child: Child,
        _pidfd: OwnedFd,
    },
    /// The child has ended; the rest of its group is watched.
    Ended {
        status: io::Result<ExitStatus>,
        _members: Vec<OwnedFd>,
    },
}

/// Our end of a pipe, and whether it is watched.
#[derive(Default)]
struct Pipe {
    fd: Option<OwnedFd>,
    is_watched: bool,
}

impl Watch {
    /// The main function of the thread.
    fn run(mut self) {
        if let Err(panic) = catch(|| self.watch()) {
            log::error!(target: &self.target, "the thread that watches the children panicked: {panic}");
        }
        self.core.close(&self.wish.bell);
        // The remaining children are killed when this is dropped.
    }

    fn watch(&mut self) {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 64];
        loop {
            self.obey();
            self.kill_those_due();
            if self.stops && self.entries.is_empty() {
                return;
            }
            let timeout = self.entries.values().filter_map(|entry| entry.kill_at).min().map(until);
            let (epoll, room) = (&self.epoll, &mut events);
            let fetched = match TaskThread::idle(move || epoll::wait(epoll, room, timeout.as_ref())) {
                Ok((fetched, _)) => fetched,
                Err(Errno::INTR) => continue,
                Err(error) => return log::error!(target: &self.target, "can't wait for the children: {error}"),
            };
            for event in fetched {
                let key = event.data.u64();
                match key {
                    BELL => {}
                    EVENTS => self.look_for_stops(),
                    _ => self.see(key / KINDS, key % KINDS),
                }
            }
        }
    }

    fn see(&mut self, id: u64, kind: u64) {
        match kind {
            GUARD => self.spawn(id),
            CHILD => self.child_ended(id),
            MEMBER => self.look_for_members(id),
            _ => self.pump(id),
        }
    }

    // --- Orders ---

    fn obey(&mut self) {
        let wanted = *lock(&self.wish.inner);
        if wanted.abort && !self.aborts {
            (self.stops, self.aborts) = (true, true);
            self.each(|watch, id| watch.kill(id));
        } else if let (Some(patience), false) = (wanted.stop, self.stops) {
            (self.stops, self.bounds.patience) = (true, patience);
            self.each(|watch, id| watch.terminate(id));
        }
        loop {
            let orders = self.core.take(&self.wish.bell, self.room());
            for order in orders {
                match order {
                    Order::Start(start) => self.guard(start),
                    Order::Look(id) => self.pump(id),
                    Order::Terminate(id) => self.terminate(id),
                    Order::Kill(id) => self.kill(id),
                }
            }
            // A child that could not be started, or was killed before, has made room, and no event tells of that.
            if self.bounds.most == 0 || self.room() == 0 || self.core.waiting() == 0 {
                return;
            }
        }
    }

    fn may_start(&self) -> bool {
        !self.stops && !self.shutdown.is_requested()
    }

    /// Returns how many more children may be started now. A child that ends makes room; its end is an event, after
    /// which this is asked again.
    fn room(&self) -> usize {
        match self.bounds.most {
            _ if !self.may_start() => 0,
            0 => usize::MAX,
            most => most.saturating_sub(self.entries.len()),
        }
    }

    fn each(&mut self, mut f: impl FnMut(&mut Self, u64)) {
        let ids = self.entries.keys().copied().collect::<Vec<_>>();
        ids.into_iter().for_each(|id| f(self, id));
    }

    // --- Starts ---

    /// Starts a guard.
    fn guard(&mut self, start: Box<Start>) {
        let life = start.life.clone();
        let guarded = start.prepared.possible().and_then(|()| Guard::start()).and_then(|guard| {
            if let Some(fd) = guard.ready_fd() {
                self.add(fd, life.id, GUARD, epoll::EventFlags::IN)?;
            }
            Ok(guard)
        });
        match guarded {
            Ok(guard) => {
                let entry = Entry {
                    terminal: None,
                    wants_terminal: start.prepared.foreground,
                    guard,
                    life: life.clone(),
                    stage: Stage::Guarded(Some(start)),
                    outputs: Default::default(),
                    input: Pipe::default(),
                    is_asked: false,
                    is_killed: false,
                    kill_at: None,
                };
                self.entries.insert(life.id, entry);
            }
            Err(error) => self.refuse(&start, &error),
        }
    }

    fn refuse(&self, start: &Start, error: &io::Error) {
        self.figures.spawn_failures.add(1);
        start.life.end(Err(start.prepared.refused(error)));
    }

    /// Starts the child, whose guard is ready, unless it is too late.
    fn spawn(&mut self, id: u64) {
        let may_start = self.may_start();
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Stage::Guarded(start) = &mut entry.stage else { return };
        let Some(mut start) = start.take() else { return };
        if !may_start {
            self.entries.remove(&id);
            return self.core.put_back(start);
        }
        let command = &mut start.prepared.command;
        let spawned = entry.guard.hear_ready().and_then(|()| {
            // The child must have the terminal before it can ask for it.
            if entry.wants_terminal {
                entry.terminal = Terminal::give(entry.guard.group())?;
            }
            entry.guard.start_in_group(command)
        });
        match spawned.and_then(|(child, pidfd)| self.take_on(id, child, pidfd)) {
            Ok(pid) => {
                self.figures.started.add(1);
                self.figures.running.add(1.0);
                start.life.started(pid);
                self.core.add_jobs(&mut start.jobs);
                self.pump(id);
            }
            Err(error) => {
                self.entries.remove(&id);
                self.refuse(&start, &error);
            }
        }
    }

    fn take_on(&mut self, id: u64, mut child: Child, pidfd: OwnedFd) -> io::Result<u32> {
        let pid = child.id();
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pipes = [stdin.map(OwnedFd::from), stdout.map(OwnedFd::from), stderr.map(OwnedFd::from)];
        let watched = pipes
            .iter()
            .flatten()
            .try_for_each(|fd| Ok(ioctl_fionbio(fd, true)?))
            .and_then(|()| self.add(pidfd.as_fd(), id, CHILD, epoll::EventFlags::IN));
        if let Err(error) = watched {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        let entry = self.entries.get_mut(&id).expect("whoever is being started is listed");
        let [stdin, stdout, stderr] = pipes.map(|fd| Pipe { fd, is_watched: false });
        (entry.input, entry.outputs) = (stdin, [stdout, stderr]);
        entry.stage = Stage::Running { child, _pidfd: pidfd };
        Ok(pid)
    }

    fn add(&self, fd: BorrowedFd<'_>, id: u64, kind: u64, flags: epoll::EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(id * KINDS + kind), flags)?)
    }

    // --- Pipes ---

    /// Reads and writes what it can, and watches the pipes that would block.
    fn pump(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if matches!(entry.stage, Stage::Guarded(_)) {
            return;
        }
        for output in 0..2 {
            let pipe = &mut entry.outputs[output];
            let waits = pipe.read(&entry.life, output);
            pipe.watch(&self.epoll, waits, id * KINDS + [STDOUT, STDERR][output], epoll::EventFlags::IN);
        }
        let waits = entry.input.write(&entry.life);
        entry.input.watch(&self.epoll, waits, id * KINDS + STDIN, epoll::EventFlags::OUT);
    }

    // --- Ends ---

    /// Sends TERM, and KILL later.
    fn terminate(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Stage::Guarded(start) = &mut entry.stage {
            let start = start.take();
            self.entries.remove(&id);
            // The task stops, not the child: the child may have its turn after a restart.
            if let (Some(start), true) = (start, self.stops) {
                self.core.put_back(start);
            }
            return;
        }
        entry.guard.signal(entry.stage.child(), Signal::TERM);
        entry.is_asked = true;
        let kill_at = Instant::now().checked_add(self.bounds.patience);
        entry.kill_at = match (entry.kill_at, kill_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    fn kill(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.kill_at = None;
        entry.is_asked = true;
        if matches!(entry.stage, Stage::Guarded(_)) {
            self.entries.remove(&id);
        } else if !std::mem::replace(&mut entry.is_killed, true) {
            self.figures.killed.add(1);
            entry.guard.signal(entry.stage.child(), Signal::KILL);
        }
    }

    fn kill_those_due(&mut self) {
        let now = Instant::now();
        let due = self.entries.iter().filter(|(_, entry)| entry.kill_at.is_some_and(|at| at <= now));
        let due = due.map(|(id, _)| *id).collect::<Vec<_>>();
        for id in due {
            if let Some(entry) = self.entries.get(&id) {
                log::warn!(target: &self.target, "{} does not end, and is killed", entry.life.program);
            }
            self.kill(id);
        }
    }

    fn child_ended(&mut self, id: u64) {
        self.pump(id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Stage::Running { child, .. } = &mut entry.stage else { return };
        entry.guard.forget_child();
        let status = child.wait();
        if let Ok(status) = &status {
            entry.life.exited(*status);
            if let (Some(terminal), Some(_)) = (&mut entry.terminal, status.code()) {
                terminal.keep_modes();
            }
        }
        entry.terminal = None;
        entry.stage = Stage::Ended { status, _members: Vec::new() };
        // Remaining processes that hold no output are not worth a look.
        if !entry.is_asked && entry.outputs.iter().all(|output| output.fd.is_none()) {
            return self.finish(id);
        }
        self.look_for_members(id);
    }

    // --- Stops ---

    /// Looks for stopped children: something has happened to a child of this process.
    fn look_for_stops(&mut self) {
        self.events.take();
        // One look at all of them, which takes nothing: most have ended, not stopped.
        if let Ok(Some(_)) = waitid(WaitId::All, WaitIdOptions::NOWAIT | STOPS) {
            self.each(Self::look_whether_stopped);
        }
    }

    /// Reports a stopped child: otherwise its callers would wait for ever.
    fn look_whether_stopped(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Stage::Running { child, .. } = &entry.stage else { return };
        let mut seen = None;
        while let Ok(Some(status)) = waitid(WaitId::Pid(Pid::from_child(child)), STOPS) {
            seen = Some(status.stopping_signal());
        }
        let Some(signal) = seen else { return };
        let (program, pid) = (&entry.life.program, child.id());
        let asks = matches!(signal, Some(SIGTTIN | SIGTTOU));
        if entry.wants_terminal && !entry.is_asked && entry.terminal.is_none() && (signal.is_none() || asks) {
            // The child continues, and may have asked for the terminal before it got it back.
            match Terminal::give(entry.guard.group()) {
                Ok(terminal) => {
                    entry.terminal = terminal;
                    return entry.guard.signal(None, Signal::CONT);
                }
                Err(error) => log::warn!(target: &self.target, "{program} (process {pid}) goes on: {error}"),
            }
        }
        let Some(signal) = signal else { return };
        self.figures.stopped.add(1);
        // The service must receive what is typed.
        entry.terminal = None;
        let why = match asks {
            true => {
                "asks for the terminal, which is not its own: it is stopped until it is killed; see Command::foreground"
                    .to_owned()
            }
            false => format!("was stopped by signal {signal}, and waits for a CONT"),
        };
        log::warn!(target: &self.target, "{program} (process {pid}) {why}");
    }

    /// Watches the living members of the group, whose child has ended; if there are none, finishes the child.
    fn look_for_members(&mut self, id: u64) {
        let Some(entry) = self.entries.get(&id) else { return };
        if !matches!(entry.stage, Stage::Ended { .. }) {
            return;
        }
        let members = entry.guard.members();
        let watched = members.iter().try_for_each(|fd| self.add(fd.as_fd(), id, MEMBER, epoll::EventFlags::IN));
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if members.is_empty() || watched.is_err() {
            return self.finish(id);
        }
        let asks = !entry.is_asked;
        if let Stage::Ended { _members, .. } = &mut entry.stage {
            *_members = members;
        }
        if asks {
            self.terminate(id);
        }
    }

    /// Finishes a child of whose group nothing is left.
    fn finish(&mut self, id: u64) {
        let Some(entry) = self.entries.remove(&id) else { return };
        let Entry { life, stage, mut outputs, guard, .. } = entry;
        drop(guard);
        for (output, pipe) in outputs.iter_mut().enumerate() {
            pipe.read_rest(&life, output);
        }
        self.figures.running.sub(1.0);
        self.figures.finished.add(1);
        if let Stage::Ended { status, .. } = stage {
            life.end(status.map_err(|error| CommandError::NotStarted {
                program: life.program.clone(),
                kind: error.kind(),
                why: error.to_string(),
            }));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for entry in std::mem::take(&mut self.entries).into_values() {
            let Entry { terminal, life, stage, guard, .. } = entry;
            drop(terminal);
            if let Stage::Running { mut child, .. } = stage {
                guard.signal(Some(&child), Signal::KILL);
                let _ = child.wait();
            }
            drop(guard);
            life.end(Err(CommandError::Stopped));
        }
    }
}

impl Stage {
    /// Returns the child, while it is not reaped.
    fn child(&self) -> Option<&Child> {
        match self {
            Self::Running { child, .. } => Some(child),
            _ => None,
        }
    }
}

impl Pipe {
    /// Reads as long as there is room, and until others must have their turn. Returns whether there is room, and it is
    /// worth waiting for more.
    fn read(&mut self, life: &Life, output: usize) -> bool {
        let (mut piece, mut turns) = ([0; PIECE], TURNS);
        while let Some(fd) = &self.fd {
            if turns == 0 {
                return true;
            }
            turns -= 1;
            let room = life.room(output).min(PIECE);
            if room == 0 {
                return false;
            }
            match read(fd, &mut piece[..room]) {
                Ok(length) if length > 0 => life.said(output, &piece[..length]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Ok(_) | Err(_) => self.end(life, output),
            }
        }
        false
    }

    /// Reads all there is, whether there is room for it or not: no writer is left.
    fn read_rest(&mut self, life: &Life, output: usize) {
        let (mut piece, mut rest) = ([0; PIECE], PIPE);
        while let Some(fd) = &self.fd {
            match read(fd, &mut piece) {
                Ok(length) if length > 0 && rest > 0 => {
                    rest = rest.saturating_sub(length);
                    life.said(output, &piece[..length]);
                }
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => self.end(life, output),
            }
        }
    }

    fn end(&mut self, life: &Life, output: usize) {
        *self = Self::default();
        life.close(output);
    }

    /// Writes as long as the child reads, and until others must have their turn. Returns whether it is worth waiting
    /// for the child.
    fn write(&mut self, life: &Life) -> bool {
        let Some(fd) = &self.fd else { return false };
        let mut turns = TURNS;
        let mut some = |bytes: &[u8]| {
            if turns == 0 {
                return Err(Errno::AGAIN);
            }
            turns -= 1;
            write(fd, &bytes[..bytes.len().min(PIECE)])
        };
        loop {
            match life.feed(&mut some) {
                None => return false,
                Some(Err(Errno::INTR)) => {}
                Some(Err(Errno::AGAIN)) => return true,
                Some(ended) => {
                    *self = Self::default();
                    if ended.is_err() {
                        life.break_input();
                    }
                    return false;
                }
            }
        }
    }

    /// Starts or stops watching the pipe: a pipe closed by the other end would report that without end.
    fn watch(&mut self, epoll: &OwnedFd, wanted: bool, key: u64, flags: epoll::EventFlags) {
        let Some(fd) = self.fd.as_ref().filter(|_| wanted != self.is_watched) else { return };
        let done = if wanted {
            epoll::add(epoll, fd, epoll::EventData::new_u64(key), flags)
        } else {
            epoll::delete(epoll, fd)
        };
        match done {
            Ok(()) => self.is_watched = wanted,
            Err(error) => log::error!("a child's pipe can't be watched: {error}"),
        }
    }
}

fn until(at: Instant) -> Timespec {
    let rest = at.saturating_duration_since(Instant::now());
    // A little more, so that it is over by then.
    let rest = rest + Duration::from_micros(50);
    Timespec { tv_sec: rest.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: rest.subsec_nanos().into() }
}
