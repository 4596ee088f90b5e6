//! The sources of a loop's runtime, and how each kind is driven.

use std::{
    fmt,
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use interloop::{Error, Result, Shutdown, event_loop::Mailbox};
use tokio::{
    runtime::{Builder, Handle, LocalOptions, Runtime, RuntimeFlavor},
    task::{self, JoinHandle, LocalSet},
};

use crate::Tokio;

/// The source of an incarnation's runtime.
#[derive(Clone, Default)]
pub(crate) enum Source {
    /// The runtime is made as the options say.
    #[default]
    Own,
    /// A builder of the program's makes the runtime.
    Built(Arc<dyn Fn() -> Builder + Send + Sync>),
    /// The runtime already exists, and stays.
    Given(Handle),
}

impl Source {
    pub(crate) fn builder(make: impl Fn() -> Builder + Send + Sync + 'static) -> Self {
        Self::Built(Arc::new(make))
    }

    pub(crate) fn handle(runtime: Handle) -> Self {
        Self::Given(runtime)
    }

    pub(crate) fn drive(
        self,
        workers: usize,
        mailbox: Mailbox<Tokio>,
        started: impl FnOnce(&Mailbox<Tokio>, Handle),
    ) -> Result {
        match (self, workers) {
            (Self::Own, 0) => drive_alone(mailbox, started),
            (Self::Own, workers) => {
                let mut builder = Builder::new_multi_thread();
                builder.worker_threads(workers).enable_all().event_interval(TURN);
                builder.thread_name(format!("{}-worker", mailbox.name()));
                drive_runtime(builder.build()?, mailbox, started)
            }
            (Self::Built(make), workers) => {
                let mut builder = make();
                builder.enable_all();
                if workers > 0 {
                    builder.worker_threads(workers);
                }
                let runtime = builder.build()?;
                if workers > 0 && !has_workers(runtime.handle()) {
                    return Err(Error::new(format!(
                        "worker-threads is {workers}, but the runtime of its builder is a current-thread one"
                    )));
                }
                drive_runtime(runtime, mailbox, started)
            }
            (Self::Given(handle), _) => drive_given(&handle, mailbox, started),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "Own",
            Self::Built(_) => "Built",
            Self::Given(_) => "Given",
        })
    }
}

fn has_workers(handle: &Handle) -> bool {
    handle.runtime_flavor() != RuntimeFlavor::CurrentThread
}

/// How many tasks run at most before sockets are looked at.
///
/// With tokio's own 61, a few tasks that always have something to do, such as connections that are flooded with
/// requests, keep other senders waiting for that many of their turns.
const TURN: u32 = 8;

/// Drives everything on this thread. The runtime takes `!Send` futures itself: that saves one poll compared with a
/// `LocalSet`.
fn drive_alone(mailbox: Mailbox<Tokio>, started: impl FnOnce(&Mailbox<Tokio>, Handle)) -> Result {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(TURN)
        .thread_name(format!("{}-blocking", mailbox.name()))
        .build_local(LocalOptions::default())?;
    let runtime = Rc::new(runtime);
    // This is weak: the runtime must have a single owner when it is shut down.
    let spawner = Rc::downgrade(&runtime);
    mailbox.set_spawner(move |future| {
        if let Some(runtime) = spawner.upgrade() {
            runtime.spawn_local(future);
        }
    });
    started(&mailbox, runtime.handle().clone());
    let end = End::of(&mailbox);
    // This is unconstrained: jobs run in here, and none may find tokio's budget used up by those before it.
    runtime.block_on(task::unconstrained(mailbox.drive(task::yield_now)));
    let runtime = Rc::into_inner(runtime).expect("the spawner went with the mailbox, and only lent it");
    end.shut_down(|patience| runtime.shutdown_timeout(patience));
    Ok(())
}

/// Runs the mailbox and the `!Send` futures on this thread; the workers, if there are some, run the other futures, the
/// sockets and the timers.
fn drive_runtime(runtime: Runtime, mailbox: Mailbox<Tokio>, started: impl FnOnce(&Mailbox<Tokio>, Handle)) -> Result {
    let local = local_set(&mailbox);
    if has_workers(runtime.handle()) {
        let workers = runtime.handle().clone();
        mailbox.set_workers(move |future| drop(workers.spawn(future)));
    }
    started(&mailbox, runtime.handle().clone());
    let end = End::of(&mailbox);
    local.block_on(&runtime, task::unconstrained(mailbox.drive(task::yield_now)));
    drop_inside(runtime.handle(), local);
    end.shut_down(|patience| runtime.shutdown_timeout(patience));
    Ok(())
}

/// Runs the mailbox and the `!Send` futures on this thread; everything else runs on the runtime, as long as it exists.
fn drive_given(runtime: &Handle, mailbox: Mailbox<Tokio>, started: impl FnOnce(&Mailbox<Tokio>, Handle)) -> Result {
    let mut life = Life::of(runtime);
    let local = local_set(&mailbox);
    let workers = runtime.clone();
    mailbox.set_workers(move |future| drop(workers.spawn(future)));
    started(&mailbox, runtime.clone());
    let driven = async {
        let mut driven = pin!(mailbox.drive(task::yield_now));
        // The mailbox comes first: a stop that came before the runtime's end counts as a stop. Tasks are polled after
        // both.
        poll_fn(|cx| match driven.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => Pin::new(&mut life.0).poll(cx).map(|_| Err(gone())),
        })
        .await
    };
    let ended = runtime.block_on(local.run_until(task::unconstrained(driven)));
    drop_inside(runtime, local);
    ended
}

fn gone() -> Error {
    Error::new("the tokio runtime that it runs on has been shut down")
}

/// Ends when the runtime is shut down, since that drops all that was spawned there. Dropping this removes it from
/// there.
struct Life(JoinHandle<()>);

impl Life {
    fn of(runtime: &Handle) -> Self {
        Self(runtime.spawn(pending()))
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes the place for the `!Send` futures of the loop's thread.
fn local_set(mailbox: &Mailbox<Tokio>) -> Rc<LocalSet> {
    let local = Rc::new(LocalSet::new());
    let spawner = Rc::downgrade(&local);
    mailbox.set_spawner(move |future| {
        if let Some(local) = spawner.upgrade() {
            local.spawn_local(future);
        }
    });
    local
}

/// Drops the set inside the runtime: its futures may look for the runtime when they are dropped.
fn drop_inside(runtime: &Handle, local: Rc<LocalSet>) {
    let _entered = runtime.enter();
    drop(local);
}

/// The end of a runtime: closures of `spawn_blocking` can't be cancelled, and dropping the runtime would wait for them
/// for ever.
struct End {
    name: String,
    shutdown: Shutdown,
}

impl End {
    const PATIENCE: Duration = Duration::from_secs(1);

    /// Makes it; this must be called while there is a mailbox.
    fn of(mailbox: &Mailbox<Tokio>) -> Self {
        Self { name: mailbox.name().to_owned(), shutdown: mailbox.shutdown() }
    }

    fn shut_down(self, shut_down: impl FnOnce(Duration)) {
        let begun = Instant::now();
        let rest =
            self.shutdown.deadline().map_or(Self::PATIENCE, |deadline| deadline.saturating_duration_since(begun));
        // Past the deadline the thread is abandoned: half of the rest keeps well clear of that.
        let patience = (rest / 2).min(Self::PATIENCE);
        shut_down(patience);
        if !patience.is_zero() && begun.elapsed() >= patience {
            log::warn!("loop {}: a blocking closure did not end within {patience:?} and is left behind", self.name);
        }
    }
}
