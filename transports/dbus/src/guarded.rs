//! A user's interface, whose panics are answered.

use std::{any::Any, collections::HashMap, fmt::Write, panic::AssertUnwindSafe, sync::Arc};

use async_trait::async_trait;
use futures_util::FutureExt;
use interloop::{Counter, panic_message};
use zbus::{
    BoxDBusError, Connection, ObjectServer, OwnedVariant, Variant, fdo,
    message::{Header, Message},
    names::{InterfaceName, MemberName},
    object_server::{DispatchResult, Interface, SignalEmitter},
};

/// What is counted of calls, and the log's target for what is not.
#[derive(Clone, Debug)]
pub(crate) struct CallCounts {
    pub(crate) calls: Counter,
    pub(crate) panics: Counter,
    pub(crate) target: Arc<str>,
}

impl CallCounts {
    fn panicked(&self, panic: Box<dyn Any + Send>) -> fdo::Error {
        self.panics.add(1);
        log::error!(target: &self.target, "a handler panicked: {}", panic_message(panic));
        fdo::Error::Failed("the handler panicked".to_owned())
    }

    fn guard<'a>(&self, result: DispatchResult<'a>) -> DispatchResult<'a> {
        let DispatchResult::Async(answer) = result else { return result };
        let counts = self.clone();
        counts.calls.add(1);
        DispatchResult::Async(Box::pin(async move {
            match AssertUnwindSafe(answer).catch_unwind().await {
                Ok(answered) => answered,
                Err(panic) => Err(counts.panicked(panic).into()),
            }
        }))
    }
}

pub(crate) struct Guarded<I> {
    pub(crate) interface: I,
    pub(crate) counts: CallCounts,
}

#[async_trait]
impl<I: Interface> Interface for Guarded<I> {
    fn name() -> InterfaceName<'static> {
        I::name()
    }

    fn spawn_tasks_for_methods(&self) -> bool {
        self.interface.spawn_tasks_for_methods()
    }

    async fn get(
        &self,
        property_name: &str,
        server: &ObjectServer,
        connection: &Connection,
        header: Option<&Header<'_>>,
        emitter: &SignalEmitter<'_>,
    ) -> Option<Result<OwnedVariant, BoxDBusError>> {
        let get = self.interface.get(property_name, server, connection, header, emitter);
        AssertUnwindSafe(get).catch_unwind().await.unwrap_or_else(|panic| Some(Err(self.counts.panicked(panic).into())))
    }

    async fn get_all(
        &self,
        server: &ObjectServer,
        connection: &Connection,
        header: Option<&Header<'_>>,
        emitter: &SignalEmitter<'_>,
    ) -> fdo::Result<HashMap<String, OwnedVariant>> {
        let get = self.interface.get_all(server, connection, header, emitter);
        AssertUnwindSafe(get).catch_unwind().await.unwrap_or_else(|panic| Err(self.counts.panicked(panic)))
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
        self.counts.guard(self.interface.set(property_name, value, server, connection, header, emitter))
    }

    async fn set_mut(
        &mut self,
        property_name: &str,
        value: &Variant<'_>,
        server: &ObjectServer,
        connection: &Connection,
        header: Option<&Header<'_>>,
        emitter: &SignalEmitter<'_>,
    ) -> Option<Result<(), BoxDBusError>> {
        let set = self.interface.set_mut(property_name, value, server, connection, header, emitter);
        let set = AssertUnwindSafe(set).catch_unwind().await;
        set.unwrap_or_else(|panic| Some(Err(self.counts.panicked(panic).into())))
    }

    fn call<'call>(
        &'call self,
        server: &'call ObjectServer,
        connection: &'call Connection,
        message: &'call Message,
        name: MemberName<'call>,
    ) -> DispatchResult<'call> {
        self.counts.guard(self.interface.call(server, connection, message, name))
    }

    fn call_mut<'call>(
        &'call mut self,
        server: &'call ObjectServer,
        connection: &'call Connection,
        message: &'call Message,
        name: MemberName<'call>,
    ) -> DispatchResult<'call> {
        self.counts.guard(self.interface.call_mut(server, connection, message, name))
    }

    fn introspect_to_writer(&self, writer: &mut dyn Write, level: usize) {
        self.interface.introspect_to_writer(writer, level);
    }
}
