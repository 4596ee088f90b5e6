//! The choice of a bus, and connections to it.

use std::{future::Future, io, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use interloop::{Context, Reply, net::Net, task::panic_message};
use zbus::{Connection, connection::Builder};

use crate::{
    jobs::{Driver, Jobs},
    runtime::LoopRuntime,
};

/// How long a bus may take to let a connection in, unless told otherwise.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(25);

/// The bus to connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bus {
    /// The session bus: at `DBUS_SESSION_BUS_ADDRESS`, or where systemd has it.
    #[default]
    Session,
    /// The system bus: at `DBUS_SYSTEM_BUS_ADDRESS`, or at the conventional address.
    System,
    /// The bus at this address: `unix:path=/run/my-bus`.
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

/// Connects to a bus: for a task that calls others, or listens to their signals, through zbus's proxies. A child of the
/// task does all work of the connection on the loop's thread, and ends with the task: calls fail from then on. Clones
/// of the connection are usable on any thread.
///
/// # Errors
///
/// Returns an error if the bus can't be reached, doesn't let this user in, or takes longer than 25 s.
///
/// # Cancel safety
///
/// Dropping the future leaves nothing behind.
pub async fn connect<L: Net, O: 'static>(cx: &Context<L, O>, bus: &Bus) -> zbus::Result<Connection> {
    let (connection, driving) = within(cx, CONNECT_TIMEOUT, build(cx, bus.builder(), Arc::default())).await?;
    driving.keep();
    Ok(connection)
}

/// Limits an opening that a silent bus would delay for ever.
pub(crate) async fn within<L: Net, O: 'static, T, E: From<zbus::Error>>(
    cx: &Context<L, O>,
    limit: Duration,
    opening: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    cx.timeout(limit, opening).await.unwrap_or_else(|_| {
        let error = format!("the bus has not let us in within {limit:?}");
        Err(zbus::Error::from(io::Error::new(io::ErrorKind::TimedOut, error)).into())
    })
}

/// The child that drives a connection, which may be waiting for a silent bus: it ends when this is dropped, unless it
/// is kept.
pub(crate) struct Driving(Option<Reply<()>>);

impl Driving {
    /// From here on the child ends with the last clone of the connection.
    pub(crate) fn keep(mut self) {
        self.0.take();
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        if let Some(driver) = self.0.take() {
            driver.cancel();
        }
    }
}

pub(crate) async fn build<L: Net, O: 'static>(
    cx: &Context<L, O>,
    builder: Builder<'static>,
    jobs: Arc<Jobs>,
) -> zbus::Result<(Connection, Driving)> {
    let runtime = LoopRuntime::new(jobs.clone());
    let driving = Driving(Some(cx.spawn_local(Driver::new(cx.clone(), jobs.clone()))));
    // zbus relies on the bus to begin with a word.
    let built = AssertUnwindSafe(builder.runtime(runtime).build()).catch_unwind().await;
    let connection = built.unwrap_or_else(|panic| {
        let error = format!("the bus speaks another language: {}", panic_message(panic));
        Err(zbus::Error::Handshake(error))
    })?;
    jobs.open();
    Ok((connection, driving))
}
