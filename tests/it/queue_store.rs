//! A queue on a store that delivers again, or fails; and the store in memory, by itself.

use std::{
    collections::{BTreeMap, VecDeque},
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Poll, Waker},
    time::Duration,
};

use crate::{
    queue::{On, SHORT, counted, counter, phoenix, poll_once, service_of},
    util::{SOON, block_on, cause_of, quiet_resident, reach, up, watched},
};
use interloop::{
    CallError, Cause, Error, State, Thread,
    tasks::{
        queue::{Clock, Entry, InProcess, ItemId, Lease, Refusal, Refused, Store, SubmitError},
        queue::{QueueHandle, WorkError},
    },
};
use proptest::prelude::*;

// --- Custom stores ---

/// A store that keeps its items beyond the queue: a lease ends when the test says so. Any operation can fail.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    waits: VecDeque<(ItemId, u32, u32)>,
    leased: BTreeMap<ItemId, (u32, u32)>,
    dead: Vec<(u32, String)>,
    acked: Vec<(u32, u32)>,
    taker: Option<Waker>,
    broken: Vec<&'static str>,
}

impl Shelf {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    fn breaks(&self, what: &[&'static str]) {
        self.kept().broken = what.to_vec();
        self.wake();
    }

    fn wake(&self) {
        let taker = self.kept().taker.take();
        taker.into_iter().for_each(Waker::wake);
    }

    /// Ends all leases: the items are delivered again.
    fn leases_run_out(&self) {
        let mut kept = self.kept();
        let leased = std::mem::take(&mut kept.leased);
        kept.waits.extend(leased.into_iter().map(|(id, (item, attempt))| (id, item, attempt)));
        drop(kept);
        self.wake();
    }
}

impl Kept {
    fn fails(&self, what: &str) -> interloop::Result {
        if self.broken.contains(&what) { Err(Error::new(format!("can't {what}"))) } else { Ok(()) }
    }
}

impl Store<u32> for Shelf {
    async fn put(&self, entry: Entry<u32>) -> Result<(), Refused<u32>> {
        if let Err(error) = self.kept().fails("put") {
            return Err(Refused::new(entry, Refusal::Failed(error)));
        }
        self.kept().waits.push_back((entry.id, entry.item, 0));
        self.wake();
        Ok(())
    }

    fn take(&self, _: &Clock) -> impl Future<Output = interloop::Result<Lease<u32>>> + Send {
        poll_fn(move |cx| {
            let mut kept = self.kept();
            kept.fails("take")?;
            let Some((id, item, attempts)) = kept.waits.pop_front() else {
                kept.taker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            kept.leased.insert(id, (item, attempts + 1));
            Poll::Ready(Ok(Lease::new(id, item, attempts + 1)))
        })
    }

    async fn ack(&self, id: ItemId, attempt: u32) -> interloop::Result {
        let mut kept = self.kept();
        kept.fails("ack")?;
        if let Some((item, _)) = kept.leased.remove(&id) {
            kept.acked.push((item, attempt));
        }
        Ok(())
    }

    async fn retry_later(&self, lease: Lease<u32>, _: Duration) -> interloop::Result {
        let mut kept = self.kept();
        kept.fails("retry")?;
        kept.leased.remove(&lease.id);
        kept.waits.push_back((lease.id, lease.item, lease.attempt));
        Ok(())
    }

    async fn dead_letter(&self, lease: Lease<u32>, why: String) -> interloop::Result {
        let mut kept = self.kept();
        kept.fails("dead")?;
        kept.leased.remove(&lease.id);
        kept.dead.push((lease.item, why));
        Ok(())
    }

    fn depth(&self) -> usize {
        self.kept().waits.len()
    }
}

#[test]
fn an_item_whose_lease_ran_out_is_worked_on_again_and_its_reply_waits() {
    watched(|| {
        let (begins, begun) = mpsc::channel();
        let shelf = Shelf::default();
        let queue = QueueHandle::stored_in(shelf.clone());
        let running = up(phoenix(&queue, begins, SHORT));
        assert!(queue.try_submit(1).unwrap_err().is_full(), "it can't say at once");
        let reply = block_on(queue.submit(1)).unwrap();
        assert_eq!(begun.recv_timeout(SOON), Ok((1, 1)));
        // The incarnation dies of it. Nothing was acknowledged, so it comes again.
        running.restart_task("queue").unwrap();
        reach(&mut running.watch(), "queue", 2, State::Running);
        assert!(!reply.is_done());
        shelf.leases_run_out();
        assert_eq!(begun.recv_timeout(SOON), Ok((1, 2)));
        assert_eq!(reply.wait_timeout(SOON), Ok(2));
        assert_eq!(shelf.kept().acked, [(1, 2)]);
        assert_eq!((counter(&running, "completed"), counter(&running, "cancelled")), (1, 0));
        assert_eq!(running.stop().code, 124, "an incarnation was cut short");
    });
}

#[test]
fn an_item_that_could_not_be_acknowledged_is_worked_on_at_least_once() {
    watched(|| {
        let shelf = Shelf::default();
        let queue = QueueHandle::stored_in(shelf.clone());
        let runs = Arc::new(AtomicUsize::new(0));
        let r = runs.clone();
        let work = async move |item: &u32, _| {
            r.fetch_add(1, Ordering::Relaxed);
            Ok(*item)
        };
        let (service, queue) = service_of(On::<u32, u32>::new(work).with_handle(&queue));
        let running = up(service);
        shelf.breaks(&["ack"]);
        assert_eq!(block_on(async { queue.submit(5).await.unwrap().await }), Ok(5));
        counted(&running, "store_errors", 1);
        shelf.breaks(&[]);
        shelf.leases_run_out();
        counted(&running, "completed", 2);
        assert_eq!((runs.load(Ordering::Relaxed), shelf.kept().acked.clone()), (2, vec![(5, 2)]));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn an_item_that_comes_again_and_again_is_given_up_untried() {
    watched(|| {
        let shelf = Shelf::default();
        let queue = QueueHandle::stored_in(shelf.clone());
        let (begins, begun) = mpsc::channel();
        let work = async move |item: &u32, _| {
            begins.send(*item).unwrap();
            Ok(())
        };
        let (service, queue) = service_of(On::<u32>::new(work).with_handle(&queue).attempts(2));
        let reply = block_on(queue.submit(5)).unwrap();
        shelf.kept().waits[0].2 = 2;
        let running = up(service);
        let why = "it was taken 3 times and never done";
        assert_eq!(reply.wait_timeout(SOON), Err(CallError::Failed(why.into())));
        assert_eq!(shelf.kept().dead, [(5, why.to_owned())]);
        assert_eq!(running.stop().code, 0);
        assert!(begun.try_iter().next().is_none());
    });
}

#[test]
fn a_store_that_fails_is_told_of() {
    watched(|| {
        let shelf = Shelf::default();
        let queue = QueueHandle::<u32, u32>::stored_in(shelf.clone());
        let work = async |item: &u32, work: interloop::tasks::queue::WorkContext<Thread>| match (
            *item,
            work.attempt().number(),
        ) {
            (1, 1) => Err(WorkError::later("later")),
            (2, _) => Err(WorkError::later("never")),
            _ => Ok(*item),
        };
        let (service, queue) = service_of(On::new(work).with_handle(&queue).attempts(2));
        let running = up(service);
        // Only those that submit are affected, and no more of the service.
        shelf.breaks(&["put"]);
        let refused = block_on(queue.submit(7)).unwrap_err();
        assert_eq!(refused.to_string(), "the queue's store failed: can't put");
        assert_eq!(refused.into_inner(), 7);
        // Items that could not be put back come again when their lease has ended.
        shelf.breaks(&["retry", "dead"]);
        let (again, never) = block_on(async { (queue.submit(1).await.unwrap(), queue.submit(2).await.unwrap()) });
        counted(&running, "store_errors", 2);
        shelf.leases_run_out();
        assert_eq!(again.wait_timeout(SOON), Ok(1));
        assert_eq!(never.wait_timeout(SOON), Err(CallError::Failed("given up after 2 attempts: never".into())));
        counted(&running, "store_errors", 3);
        // A queue that gets no more items has failed.
        shelf.breaks(&["take"]);
        let report = running.join_timeout(SOON).unwrap();
        assert_eq!(cause_of(&report, "queue"), Cause::Error("can't take".into()));
    });
}

#[test]
fn a_store_that_outlives_the_process_keeps_what_waits_and_the_replies_end() {
    watched(|| {
        let shelf = Shelf::default();
        let queue = QueueHandle::stored_in(shelf.clone());
        let (begins, begun) = mpsc::channel();
        let mut service = phoenix(&queue, begins, SHORT);
        service.task("user", quiet_resident::<Thread>()).uses(&queue);
        let running = up(service);
        let (at_work, waits) = block_on(async { (queue.submit(1).await.unwrap(), queue.submit(2).await.unwrap()) });
        assert_eq!(begun.recv_timeout(SOON), Ok((1, 1)));
        assert_eq!(running.stop().code, 124);
        assert_eq!(
            (at_work.wait_timeout(SOON), waits.wait_timeout(SOON)),
            (Err(CallError::Stopped), Err(CallError::Stopped))
        );
        assert_eq!((queue.depth(), queue.take_left().len(), shelf.kept().leased.len()), (1, 0, 1));
        assert!(matches!(block_on(queue.submit(3)), Err(SubmitError::Stopped(3))), "though the store would take it");
    });
}

// --- Properties ---

fn entry(number: u64, key: Option<String>, priority: i64) -> Entry<u64> {
    let entry = Entry::new(ItemId::new(0, number), number).priority(priority);
    if let Some(key) = key { entry.key(key) } else { entry }
}

/// An operation on a store.
#[derive(Clone, Debug)]
enum Step {
    Put { key: Option<u8>, priority: i64 },
    Queue { key: Option<u8>, priority: i64 },
    LeaveRow(usize),
    Take,
    Ack(usize),
    Retry(usize),
    Dead(usize),
    Abandon(usize),
    Bound(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let item = || (proptest::option::of(0..4u8), -1..2i64);
    prop_oneof![
        item().prop_map(|(key, priority)| Step::Put { key, priority }),
        item().prop_map(|(key, priority)| Step::Queue { key, priority }),
        (0..4usize).prop_map(Step::LeaveRow),
        Just(Step::Take),
        Just(Step::Take),
        (0..4usize).prop_map(Step::Ack),
        (0..4usize).prop_map(Step::Retry),
        (0..4usize).prop_map(Step::Dead),
        (0..4usize).prop_map(Step::Abandon),
        (1..6usize).prop_map(Step::Bound),
    ]
}

type Row<'a> = Vec<(u64, Option<String>, i64, Pin<Box<dyn Future<Output = Result<(), Refused<u64>>> + Send + 'a>>)>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Checks it against a model that is a list: order, capacity, keys; each item is in one place at the end.
    #[test]
    fn the_store_in_memory_loses_nothing_and_keeps_the_order(steps in proptest::collection::vec(step(), 1..60)) {
        let store = InProcess::<u64>::new();
        let mut row: Row<'_> = Vec::new();
        // Waiting items, in order: the sequence is the store's; keys in use; leases.
        let mut waits: Vec<(i64, u64, u64)> = Vec::new();
        // To be tried again at once: they get their place when somebody takes.
        let mut later: Vec<u64> = Vec::new();
        let mut keys: BTreeMap<String, u64> = BTreeMap::new();
        let (mut leases, mut keyed) = (Vec::<Lease<u64>>::new(), BTreeMap::<u64, (Option<String>, i64)>::new());
        let (mut number, mut sequence, mut max) = (0, 0, usize::MAX);
        let (mut accepted, mut done, mut dead) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Put { key, priority } => {
                    number += 1;
                    let key = key.map(|key| key.to_string());
                    let put = store.try_put(entry(number, key.clone(), priority)).map_err(|refused| refused.why);
                    match key.as_ref().and_then(|key| keys.get(key)) {
                        Some(first) => prop_assert!(matches!(put, Err(Refusal::Duplicate(id)) if id.number == *first)),
                        None if waits.len() + later.len() >= max || !row.is_empty() => prop_assert!(matches!(put, Err(Refusal::Full))),
                        None => {
                            prop_assert!(put.is_ok());
                            accepted += 1;
                            sequence += 1;
                            waits.push((-priority, sequence, number));
                            keys.extend(key.clone().map(|key| (key, number)));
                            keyed.insert(number, (key, priority));
                        }
                    }
                }
                Step::Queue { key, priority } => {
                    number += 1;
                    let key = key.map(|key| key.to_string());
                    let put = store.put(entry(number, key.clone(), priority));
                    row.push((number, key, priority, Box::pin(put)));
                }
                Step::LeaveRow(index) if index < row.len() => drop(row.remove(index)),
                Step::Take => {
                    let clock = Clock::default();
                    for item in later.drain(..) {
                        sequence += 1;
                        waits.push((-keyed[&item].1, sequence, item));
                    }
                    let taken = poll_once(pin!(store.take(&clock)));
                    waits.sort_unstable();
                    match taken {
                        Poll::Pending => prop_assert!(waits.is_empty()),
                        Poll::Ready(lease) => {
                            let lease = lease.unwrap();
                            prop_assert_eq!(lease.item, waits.remove(0).2);
                            leases.push(lease);
                        }
                    }
                }
                Step::Ack(index) | Step::Dead(index) | Step::Abandon(index) if index < leases.len() => {
                    let lease = leases.remove(index);
                    if let (Some(key), _) = &keyed[&lease.item] {
                        keys.remove(key);
                    }
                    match step {
                        Step::Ack(_) => {
                            done += 1;
                            block_on(store.ack(lease.id, lease.attempt)).unwrap();
                        }
                        Step::Dead(_) => {
                            dead += 1;
                            block_on(store.dead_letter(lease, "why".into())).unwrap();
                        }
                        _ => {
                            dead += 1;
                            prop_assert!(!store.abandon(lease));
                        }
                    }
                }
                Step::Retry(index) if index < leases.len() => {
                    let lease = leases.remove(index);
                    later.push(lease.item);
                    block_on(store.retry_later(lease, Duration::ZERO)).unwrap();
                }
                Step::Bound(items) => {
                    max = items;
                    store.bound(Some(items));
                }
                _ => {}
            }
            // Waiters for space, asked in reverse order, still enter in turn.
            let before = row.len();
            let mut entered = Vec::new();
            loop {
                let mut again = false;
                for index in (0..row.len()).rev() {
                    if let Poll::Ready(put) = poll_once(row[index].3.as_mut()) {
                        let (item, key, priority, _) = row.remove(index);
                        match put.map_err(|refused| refused.why) {
                            Ok(()) => {
                                accepted += 1;
                                sequence += 1;
                                waits.push((-priority, sequence, item));
                                keys.extend(key.clone().map(|key| (key, item)));
                                keyed.insert(item, (key, priority));
                                entered.push(item);
                            }
                            Err(why) => {
                                let is_known = matches!(why, Refusal::Duplicate(id) if keys[&key.unwrap()] == id.number);
                                prop_assert!(is_known);
                            }
                        }
                        again = true;
                    }
                }
                if !again {
                    break;
                }
            }
            prop_assert!(before <= 1 || entered.is_sorted(), "{:?}", entered);
            prop_assert!(row.is_empty() || waits.len() + later.len() >= max, "there is room, and somebody waits for it");
            prop_assert_eq!(store.depth(), waits.len() + later.len());
        }
        drop(row);
        let left = store.give_back();
        waits.sort_unstable();
        prop_assert_eq!(left.len(), waits.len() + later.len());
        prop_assert_eq!(store.take_dead_letters().len(), dead);
        prop_assert_eq!(accepted, done + dead + left.len() + leases.len());
    }
}
