//! The state that a server shares with its connections.

use std::{future::Future, pin::Pin, time::Duration};

use interloop::{Shutdown, tasks::Workers};

use crate::{
    counts::Counts,
    processing::{Oneways, Processor},
    settings::Times,
    walk::Limits,
};

/// A future that ends after some time.
pub(crate) type Sleep = Pin<Box<dyn Future<Output = ()>>>;

/// The state that a server shares with its connections.
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
