//! Which bus, and connections to it.

use std::sync::Arc;

use interloop::{Context, net::Net};
use zbus::{Connection, connection::Builder};

use crate::{
    jobs::{Driver, Jobs},
    runtime::LoopRuntime,
};

/// Which bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bus {
    /// The session's: at `DBUS_SESSION_BUS_ADDRESS`, or where systemd has it.
    #[default]
    Session,
    /// The system's: at `DBUS_SYSTEM_BUS_ADDRESS`, or where it is by convention.
    System,
    /// The one at this address: `unix:path=/run/my-bus`.
    Address(String),
}

impl Bus {
    pub(crate) fn builder(&self) -> Builder<'static> {
        match self {
            Self::Session => Builder::session(),
            Self::System => Builder::system(),
            Self::Address(address) => Builder::address(address.as_str()),
        }
    }
}

/// Connects to a bus: for a task that calls others, or listens to their signals, by zbus's proxies. All that the connection does is done on the loop's
/// thread, by a child of the task, and ends with the task: from then on calls fail. Its clones may be used on any thread.
///
/// # Errors
///
/// The bus can't be reached, or doesn't let this user in.
///
/// # Cancel safety
///
/// Dropped, it leaves nothing behind.
pub async fn connect<L: Net, O: 'static>(cx: &Context<L, O>, bus: &Bus) -> zbus::Result<Connection> {
    build(cx, bus.builder()).await.map(|(connection, _)| connection)
}

pub(crate) async fn build<L: Net, O: 'static>(
    cx: &Context<L, O>,
    builder: Builder<'static>,
) -> zbus::Result<(Connection, Arc<Jobs>)> {
    let jobs = Arc::new(Jobs::default());
    let runtime = LoopRuntime::new(jobs.clone());
    // It ends with the last clone of the runtime, which the connection has.
    cx.spawn_local(Driver::new(cx.clone(), jobs.clone())).detach();
    Ok((builder.runtime(runtime).build().await?, jobs))
}
