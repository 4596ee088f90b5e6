//! Wraps a user's interface, to answer its panics and limit its callers.

use std::{
    any::Any,
    collections::HashMap,
    fmt::Write,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures_util::FutureExt;
use interloop::{counters::Counter, task::log_panic};
use zbus::{
    BoxDBusError, Connection, ObjectServer, OwnedVariant, Variant, fdo,
    message::{Flags, Header, Message},
    names::{InterfaceName, MemberName},
    object_server::{DispatchResult, Interface, SignalEmitter},
};
use zruntime::lock::RwLock;

/// The counters and the permits of calls, and the log's target.
#[derive(Clone, Debug)]
pub(crate) struct CallCounts {
    pub(crate) calls: Counter,
    pub(crate) panics: Counter,
    pub(crate) refused: Counter,
    pub(crate) target: Arc<str>,
    pub(crate) permits: Arc<CallPermits>,
}

impl CallCounts {
    fn panicked(&self, panic: Box<dyn Any + Send>) -> fdo::Error {
        self.panics.add(1);
        log_panic(&self.target, "a handler", panic);
        fdo::Error::Failed("the handler panicked".to_owned())
    }

    /// Awaits the answer if the caller gets a permit, and turns a panic into an error.
    async fn guard<T, E: From<fdo::Error>>(
        &self,
        header: Option<&Header<'_>>,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let caller = header.and_then(|header| header.sender()).map_or("", |sender| sender.as_str());
        let Some(_permit) = self.permits.take(caller) else {
            self.refused.add(1);
            return Err(fdo::Error::LimitsExceeded("too many calls are being answered".to_owned()).into());
        };
        match AssertUnwindSafe(answer).catch_unwind().await {
            Ok(answered) => answered,
            Err(panic) => Err(self.panicked(panic).into()),
        }
    }
}

/// Permits for concurrent calls. No caller gets more than a quarter of them, so that one alone can't keep the others
/// out.
#[derive(Debug)]
pub(crate) struct CallPermits {
    room: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<Arc<str>, usize>,
}

impl CallPermits {
    pub(crate) fn new(room: usize) -> Arc<Self> {
        Arc::new(Self { room, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, caller: &str) -> Option<CallPermit<'_>> {
        let mut taken = self.taken();
        let known = taken.by.get_key_value(caller).map(|(caller, own)| (caller.clone(), *own));
        let (caller, own) = known.unwrap_or_else(|| (caller.into(), 0));
        if taken.all >= self.room || own >= (self.room / 4).max(1) {
            return None;
        }
        taken.all += 1;
        taken.by.insert(caller.clone(), own + 1);
        Some(CallPermit { permits: self, caller })
    }
}

struct CallPermit<'a> {
    permits: &'a CallPermits,
    caller: Arc<str>,
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        let mut taken = self.permits.taken();
        taken.all -= 1;
        if let Some(own) = taken.by.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                taken.by.remove(&self.caller);
            }
        }
    }
}

/// An interface with a lock of its own inside zbus's, so that waiting for it counts too: a call is counted before it
/// waits for anything.
pub(crate) struct Guarded<I> {
    interface: RwLock<I>,
    spawns: bool,
    /// The text at level 0.
    introspection: String,
    counts: CallCounts,
}

impl<I: Interface> Guarded<I> {
    pub(crate) fn new(interface: I, counts: &CallCounts) -> Self {
        let mut introspection = String::new();
        interface.introspect_to_writer(&mut introspection, 0);
        let spawns = interface.spawn_tasks_for_methods();
        Self { interface: RwLock::new(interface), spawns, introspection, counts: counts.clone() }
    }

    async fn answer(
        &self,
        server: &ObjectServer,
        connection: &Connection,
        message: &Message,
        name: MemberName<'_>,
    ) -> Result<(), BoxDBusError> {
        let unknown = || fdo::Error::UnknownMethod(format!("Unknown method '{name}'"));
        let interface = self.interface.read().await;
        match interface.call(server, connection, message, name.clone()) {
            DispatchResult::NotFound => return Err(unknown().into()),
            DispatchResult::Async(answer) => {
                self.counts.calls.add(1);
                return answer.await;
            }
            DispatchResult::RequiresMut => {}
        }
        drop(interface);
        let mut interface = self.interface.write().await;
        match interface.call_mut(server, connection, message, name.clone()) {
            DispatchResult::NotFound | DispatchResult::RequiresMut => Err(unknown().into()),
            DispatchResult::Async(answer) => {
                self.counts.calls.add(1);
                answer.await
            }
        }
    }

    async fn change(
        &self,
        property: &str,
        value: &Variant<'_>,
        server: &ObjectServer,
        connection: &Connection,
        header: Option<&Header<'_>>,
        emitter: &SignalEmitter<'_>,
    ) -> Result<(), BoxDBusError> {
        let unknown = || fdo::Error::UnknownProperty(format!("Unknown property '{property}'"));
        let interface = self.interface.read().await;
        match interface.set(property, value, server, connection, header, emitter) {
            DispatchResult::NotFound => return Err(unknown().into()),
            DispatchResult::Async(set) => {
                self.counts.calls.add(1);
                return set.await;
            }
            DispatchResult::RequiresMut => {}
        }
        drop(interface);
        let mut interface = self.interface.write().await;
        let set = interface.set_mut(property, value, server, connection, header, emitter).await;
        let set = set.unwrap_or_else(|| Err(unknown().into()));
        self.counts.calls.add(1);
        set
    }
}

#[async_trait]
impl<I: Interface> Interface for Guarded<I> {
    fn name() -> InterfaceName<'static> {
        I::name()
    }

    fn spawn_tasks_for_methods(&self) -> bool {
        self.spawns
    }

    async fn get(
        &self,
        property_name: &str,
        server: &ObjectServer,
        connection: &Connection,
        header: Option<&Header<'_>>,
        emitter: &SignalEmitter<'_>,
    ) -> Option<Result<OwnedVariant, BoxDBusError>> {
        let get = async {
            let interface = self.interface.read().await;
            Ok(interface.get(property_name, server, connection, header, emitter).await)
        };
        self.counts.guard(header, get).await.unwrap_or_else(|error: fdo::Error| Some(Err(error.into())))
    }

    async fn get_all(
        &self,
        server: &ObjectServer,
        connection: &Connection,
        header: Option<&Header<'_>>,
        emitter: &SignalEmitter<'_>,
    ) -> fdo::Result<HashMap<String, OwnedVariant>> {
        let get = async {
            let interface = self.interface.read().await;
            interface.get_all(server, connection, header, emitter).await
        };
        self.counts.guard(header, get).await
    }

    fn set<'call>(
        &'call self,
        property_name: &'call str,
        value: &'call Variant<'_>,
        server: &'call ObjectServer,
        connection: &'call Connection,
        header: Option<&'call Header<'_>>,
        emitter: &'call SignalEmitter<'_>,
    ) -> DispatchResult<'call> {
        DispatchResult::Async(Box::pin(async move {
            let set = self.change(property_name, value, server, connection, header, emitter);
            self.counts.guard(header, set).await
        }))
    }

    /// Never called: [`set`](Self::set) does everything.
    async fn set_mut(
        &mut self,
        _property_name: &str,
        _value: &Variant<'_>,
        _server: &ObjectServer,
        _connection: &Connection,
        _header: Option<&Header<'_>>,
        _emitter: &SignalEmitter<'_>,
    ) -> Option<Result<(), BoxDBusError>> {
        None
    }

    fn call<'call>(
        &'call self,
        server: &'call ObjectServer,
        connection: &'call Connection,
        message: &'call Message,
        name: MemberName<'call>,
    ) -> DispatchResult<'call> {
        DispatchResult::Async(Box::pin(async move {
            let header = message.header();
            let answered = self.counts.guard(Some(&header), self.answer(server, connection, message, name)).await;
            // zbus would send an error even to a caller that wants no answer.
            if header.primary().flags().contains(Flags::NO_REPLY_EXPECTED) { Ok(()) } else { answered }
        }))
    }

    /// Never called: [`call`](Self::call) does everything.
    fn call_mut<'call>(
        &'call mut self,
        _server: &'call ObjectServer,
        _connection: &'call Connection,
        _message: &'call Message,
        _name: MemberName<'call>,
    ) -> DispatchResult<'call> {
        DispatchResult::NotFound
    }

    fn introspect_to_writer(&self, writer: &mut dyn Write, level: usize) {
        for line in self.introspection.lines() {
            // Writing to a String can't fail.
            let _ = writeln!(writer, "{:level$}{line}", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CallPermits;

    #[test]
    fn no_caller_gets_more_than_a_quarter_of_the_room_and_all_together_not_more_than_there_is() {
        let permits = CallPermits::new(8);
        let first = [permits.take("a"), permits.take("a")];
        assert!(first.iter().all(Option::is_some) && permits.take("a").is_none());
        let others = ["b", "b", "c", "c", "d", "d"].map(|caller| permits.take(caller));
        assert!(others.iter().all(Option::is_some) && permits.take("e").is_none());
        drop(first);
        assert!(permits.take("a").is_some() && permits.take("e").is_some());
        drop(others);
        assert!(permits.taken().by.is_empty() && permits.taken().all == 0);
        assert!(CallPermits::new(1).take("a").is_some(), "a small room has a permit too");
    }
}
