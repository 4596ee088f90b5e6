//! The part of a loop that only its thread sees: the values that Remotes reach, and the futures.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
};

use super::{
    address::Address,
    control::{Control, Ended},
    hosted::Hosted,
    job::{Job, Work},
    shared::Shared,
    this_thread::{self, Label},
};
use crate::kit::{
    clock::Busy,
    panics::{catch, say},
    sync::thread,
    trace::Span,
};
#[cfg(all(feature = "net", target_os = "linux"))]
use crate::reactor::of_thread::Installed;

type Spawner = Rc<dyn Fn(LocalFuture)>;
type Workers = Arc<dyn Fn(SendFuture) + Send + Sync>;

/// A future that stays on its thread.
pub type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;
/// A future that may go to any thread.
pub type SendFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The part of a loop that only its thread sees, for one incarnation.
pub(crate) struct Local {
    /// Distinguishes the incarnations of all loops.
    id: u64,
    shared: Arc<Shared>,
    values: RefCell<BTreeMap<u64, Value>>,
    /// Jobs that waited for a value that exists now; they come before those in the queue.
    backlog: RefCell<VecDeque<Job>>,
    futures: RefCell<BTreeMap<u64, Arc<Control>>>,
    next_future: Cell<u64>,
    /// The number of futures in our own executor.
    own: Cell<usize>,
    spawner: RefCell<Option<Spawner>>,
    workers: RefCell<Option<Workers>>,
    native: RefCell<Option<Rc<dyn Any>>>,
    #[cfg(all(feature = "net", target_os = "linux"))]
    reactor: RefCell<Option<Installed>>,
    closed: Cell<bool>,
    label: Label,
}

/// A value that a Remote reaches, and the span of its task.
#[derive(Clone)]
struct Value {
    value: Rc<dyn Any>,
    span: Span,
}

impl Local {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            shared,
            values: RefCell::default(),
            backlog: RefCell::default(),
            futures: RefCell::default(),
            next_future: Cell::new(0),
            own: Cell::new(0),
            spawner: RefCell::default(),
            workers: RefCell::default(),
            native: RefCell::default(),
            #[cfg(all(feature = "net", target_os = "linux"))]
            reactor: RefCell::default(),
            closed: Cell::new(false),
            label: Label::job(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn set_spawner(&self, spawner: Spawner) {
        *self.spawner.borrow_mut() = Some(spawner);
    }

    pub(crate) fn set_workers(&self, workers: Workers) {
        *self.workers.borrow_mut() = Some(workers);
    }

    /// Stores the loop's reactor until this incarnation ends.
    #[cfg(all(feature = "net", target_os = "linux"))]
    pub(crate) fn set_reactor(&self, installed: Installed) {
        *self.reactor.borrow_mut() = Some(installed);
    }

    // --- Jobs ---

    pub(crate) fn next_job(&self) -> Option<Job> {
        let waited = self.backlog.borrow_mut().pop_front();
        waited.or_else(|| self.shared.queue.pop())
    }

    pub(crate) fn run(self: &Rc<Self>, job: Job) {
        match job {
            Job::Errand(errand, _busy) => {
                if let Err(panic) = catch(|| errand(self)) {
                    say(format_args!("loop {}: an errand panicked", self.shared.name()), &panic);
                }
            }
            Job::For(key, work, _busy) => match self.value(key) {
                Some(value) => self.work(work, value),
                None => self.put_back(key, work),
            },
        }
    }

    /// Marks that jobs run, until dropped.
    pub(crate) fn enter(&self) -> impl Drop + '_ {
        this_thread::enter(&self.label, &self.shared)
    }

    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.borrow().is_empty()
    }

    fn work(self: &Rc<Self>, work: Box<dyn Work>, Value { value, span }: Value) {
        // A call passes its panic to its Reply; a panic that arrives here is from a post.
        if let Err(panic) = catch(|| span.run(|| work.run(self, value))) {
            say(format_args!("loop {}: a posted job panicked", self.shared.name()), &panic);
        }
    }

    /// Returns a job to its address if the value is between two incarnations of its task; drops it if the value is gone
    /// for good.
    fn put_back(&self, key: u64, work: Box<dyn Work>) {
        // The fake clock doesn't wait for it until there is a value again.
        let job = Job::For(key, work, Busy::default());
        let refused = match self.shared.address(key) {
            Some(address) => address.keep(job).err(),
            None => Some(job),
        };
        if let Some(job) = refused {
            self.shared.count_dropped(1);
            if let Err(panic) = catch(|| drop(job)) {
                say(format_args!("loop {}: the drop of a queued job panicked", self.shared.name()), &panic);
            }
        }
    }

    // --- Values ---

    /// Sets the loop's Native, for tasks and for the Remotes that reach it.
    pub(crate) fn set_native(&self, native: Rc<dyn Any>) {
        let value = Value { value: native.clone(), span: Span::none() };
        self.values.borrow_mut().insert(self.shared.native_key(), value);
        *self.native.borrow_mut() = Some(native);
    }

    pub(crate) fn native(&self) -> Option<Rc<dyn Any>> {
        self.native.borrow().clone()
    }

    fn value(&self, key: u64) -> Option<Value> {
        self.values.borrow().get(&key).cloned()
    }

    /// Puts the value, of the task with this span, at its address; the jobs that waited there come next.
    pub(crate) fn put(&self, address: &Arc<Address>, value: Rc<dyn Any>, span: Span) -> Result<(), &'static str> {
        if self.values.borrow().contains_key(&address.key()) {
            return Err("it is filled already");
        }
        let waited = address.bind(&self.shared)?;
        self.values.borrow_mut().insert(address.key(), Value { value, span });
        if !waited.is_empty() {
            let marked = waited.into_iter().map(|mut job| {
                job.mark(self.shared.clock().busy());
                job
            });
            self.backlog.borrow_mut().extend(marked);
            self.shared.queue.bell.ring();
        }
        Ok(())
    }

    /// Drops the value here; if the drop panics, returns its message.
    pub(crate) fn remove(&self, key: u64) -> Result<(), String> {
        let value = self.values.borrow_mut().remove(&key);
        catch(|| drop(value))
    }

    // --- Futures ---

    /// Hosts a future on this thread.
    pub(crate) fn spawn<F: Future + 'static>(
        self: &Rc<Self>,
        future: F,
        control: Arc<Control>,
        label: Label,
        span: Span,
        end: impl FnOnce(Ended<F::Output>) + 'static,
    ) {
        let id = self.next_future.get();
        self.next_future.set(id + 1);
        let spawner = self.spawner.borrow().clone();
        let own = spawner.is_none();
        self.own.set(self.own.get() + usize::from(own));
        let local = Rc::downgrade(self);
        let hosted = Hosted::new(future, control.clone(), label, span, self.shared.clone(), move |ended| {
            if let Some(local) = local.upgrade() {
                local.futures.borrow_mut().remove(&id);
                local.own.set(local.own.get() - usize::from(own));
            }
            end(ended);
        });
        if self.closed.get() {
            // It is dropped immediately and ends as cancelled.
            return;
        }
        self.futures.borrow_mut().insert(id, control);
        match spawner {
            Some(spawn) => spawn(Box::pin(hosted)),
            None => self.spawn_here(Box::pin(hosted)),
        }
    }

    /// Puts a future into our own executor. Of one type: else the executor would be compiled for each future.
    fn spawn_here(&self, hosted: LocalFuture) {
        let shared = self.shared.clone();
        let (runnable, task) = async_task::spawn_local(hosted, move |wake| shared.queue.push_wake(wake));
        task.detach();
        runnable.schedule();
    }

    pub(crate) fn has_workers(&self) -> bool {
        self.workers.borrow().is_some()
    }

    /// Hosts a future on the runtime's workers, which must exist.
    pub(crate) fn spawn_on_workers<F: Future + Send + 'static>(
        &self,
        future: F,
        control: Arc<Control>,
        label: Label,
        span: Span,
        end: impl FnOnce(Ended<F::Output>) + Send + 'static,
    ) {
        let hosted = Hosted::new(future, control, label, span, self.shared.clone(), end);
        let workers = self.workers.borrow().clone();
        if let Some(spawn) = workers {
            spawn(Box::pin(hosted));
        }
    }

    // --- The end ---

    /// Accepts no more futures, and cancels the living ones.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        let controls = self.futures.borrow().values().cloned().collect::<Vec<_>>();
        controls.iter().for_each(|control| control.cancel());
    }

    /// Drops, on this thread, everything that this incarnation holds. Jobs that have not begun go back to where they
    /// waited.
    pub(crate) fn end(&self) {
        self.close();
        // Cancelled futures of our own executor are dropped when they are run once more; drops may wake others. If
        // another thread is waking a future right now, that future arrives as soon as the thread has pushed it: left in
        // the queue, it would appear in the next incarnation, on a wrong thread.
        while self.own.get() > 0 {
            match self.shared.queue.pop_wake() {
                Some(wake) => {
                    wake.run();
                }
                None => thread::yield_now(),
            }
        }
        loop {
            let job = self.backlog.borrow_mut().pop_front();
            match job {
                Some(Job::For(key, work, _)) => self.put_back(key, work),
                Some(Job::Errand(..)) => {}
                None => break,
            }
        }
        loop {
            // One at a time, since a drop may look at the values.
            let value = self.values.borrow_mut().pop_first();
            let Some((_, value)) = value else { break };
            if let Err(panic) = catch(|| drop(value)) {
                say(format_args!("loop {}: the drop of a value panicked", self.shared.name()), &panic);
            }
        }
        let native = self.native.borrow_mut().take();
        drop(native);
        let spawner = self.spawner.borrow_mut().take();
        drop(spawner);
        let workers = self.workers.borrow_mut().take();
        drop(workers);
        #[cfg(all(feature = "net", target_os = "linux"))]
        drop(self.reactor.take());
    }
}
