//! The built-in object: the service itself, on the bus.

use std::{collections::BTreeMap, sync::Arc};

use interloop::{ServiceHandle, options::OptionValue, service::Transition};
use zbus::{Connection, fdo, interface, message::Header, object_server::SignalEmitter};

use crate::permit::Permit;

/// The path of the object.
pub const SERVICE_PATH: &str = "/org/interloop/Service";

/// The text for a missing value, as in sparts.
const NONE: &str = "__None__";

pub(crate) struct Control {
    pub(crate) service: ServiceHandle,
    pub(crate) permit: Arc<Permit>,
}

fn shown(option: &OptionValue) -> String {
    option.value().unwrap_or(NONE).to_owned()
}

#[interface(name = "org.interloop.Service")]
impl Control {
    fn list_options(&self) -> Vec<String> {
        self.service.options().list().iter().map(|option| option.name().to_owned()).collect()
    }

    fn get_options(&self) -> BTreeMap<String, String> {
        self.service.options().list().iter().map(|option| (option.name().to_owned(), shown(option))).collect()
    }

    fn get_option(&self, name: &str) -> fdo::Result<String> {
        let option = self.service.options().get(name);
        option.as_ref().map(shown).ok_or_else(|| fdo::Error::InvalidArgs(format!("no option {name}")))
    }

    async fn set_option(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
        name: &str,
        value: &str,
    ) -> fdo::Result<()> {
        self.permit.check(connection, &header).await?;
        let options = self.service.options();
        let applied = if value == NONE { options.reset(name) } else { options.set(name, value) };
        applied.map(drop).map_err(|error| fdo::Error::InvalidArgs(error.to_string()))
    }

    async fn shutdown(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        self.permit.check(connection, &header).await?;
        self.service.request_shutdown("asked over D-Bus");
        Ok(())
    }

    /// Restarts the service: all tasks stop in order, and are started again.
    async fn restart(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        self.permit.check(connection, &header).await?;
        self.service.restart();
        Ok(())
    }

    /// Lists the tasks: name, state, incarnation.
    fn list_tasks(&self) -> Vec<(String, String, u32)> {
        let tasks = self.service.status().tasks.into_iter();
        tasks.map(|task| (task.name, task.state.as_str().to_owned(), task.incarnation)).collect()
    }

    /// The uptime in seconds.
    fn uptime(&self) -> f64 {
        self.service.status().uptime
    }

    #[zbus(signal)]
    async fn transition(
        emitter: &SignalEmitter<'_>,
        task: &str,
        from: &str,
        to: &str,
        cause: &str,
        incarnation: u32,
    ) -> zbus::Result<()>;
}

/// Sends a signal at each transition, beginning with the current states.
pub(crate) async fn tell_transitions(service: ServiceHandle, connection: Connection) {
    let mut watch = service.watch();
    while let Some(transition) = watch.next().await {
        if let Err(error) = tell(&connection, &transition).await {
            log::debug!("no more transitions are told over D-Bus: {error}");
            return;
        }
    }
}

async fn tell(connection: &Connection, transition: &Transition) -> zbus::Result<()> {
    let emitter = SignalEmitter::new(connection, SERVICE_PATH)?;
    let Transition { task, from, to, cause, incarnation, .. } = transition;
    Control::transition(&emitter, task, from.as_str(), to.as_str(), &cause.to_string(), *incarnation).await
}
