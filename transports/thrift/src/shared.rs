//! What the connections of a server share, and the server with them.

use std::{future::Future, pin::Pin, time::Duration};

use interloop::{Shutdown, tasks::Workers};

use crate::{
    counts::Counts,
    processing::{Oneways, Processor},
    settings::Times,
    walk::Limits,
};

/// Ends after some time.
pub(crate) type Sleep = Pin<Box<dyn Future<Output = ()>>>;

/// What the connections of a server share.
pub(crate) struct Server {
    pub(crate) sleep: Box<dyn Fn(Duration) -> Sleep>,
    pub(crate) target: String,
    pub(crate) shutdown: Shutdown,
    pub(crate) processor: Processor,
    pub(crate) workers: Option<Workers>,
    pub(crate) limits: Limits,
    pub(crate) times: Times,
    pub(crate) counts: Counts,
    pub(crate) oneways: Oneways,
}
