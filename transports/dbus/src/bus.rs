//! Which bus, and connections to it.

use std::{future::Future, io, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use interloop::{Context, Reply, net::Net, task::panic_message};
use zbus::{Connection, connection::Builder};

use crate::{
    jobs::{Driver, Jobs},
    runtime::LoopRuntime,
};

/// How long a bus may take to let us in, unless told otherwise.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(25);

/// Which bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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

/// Connects to a bus: for a task that calls others, or listens to their signals, by zbus's proxies. All that the
/// connection does is done on the loop's thread, by a child of the task, and ends with the task: from then on calls
/// fail. Its clones may be used on any thread.
///
/// # Errors
///
/// The bus can't be reached, or doesn't let this user in, or not within 25 s.
///
/// # Cancel safety
///
/// Dropped, it leaves nothing behind.
pub async fn connect<L: Net, O: 'static>(cx: &Context<L, O>, bus: &Bus) -> zbus::Result<Connection> {
    let (connection, driving) = within(cx, CONNECT_TIMEOUT, build(cx, bus.builder(), Arc::default())).await?;
    driving.keep();
    Ok(connection)
}

/// What a bus that says nothing would hold up for ever.
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

/// What is done for a connection, which may be waiting for a bus that says nothing: it ends with this, unless it is
/// kept.
pub(crate) struct Driving(Option<Reply<()>>);

impl Driving {
    /// From here on it ends with the last clone of the connection.
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
    // zbus trusts a bus to begin with a word.
    let built = AssertUnwindSafe(builder.runtime(runtime).build()).catch_unwind().await;
    let connection = built.unwrap_or_else(|panic| {
        let error = format!("the bus speaks another language: {}", panic_message(panic));
        Err(zbus::Error::Handshake(error))
    })?;
    jobs.open();
    Ok((connection, driving))
}
