//! What every loop has to keep, by the current-thread runtime.

mod contract;
mod util;

use interloop::Service;
use interloop_tokio::Tokio;

contract!(Tokio, || Service::new("contract"));
