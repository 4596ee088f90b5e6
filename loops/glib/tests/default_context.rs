//! What every loop has to keep, by glib's default context.

#[path = "../../tokio/tests/contract/mod.rs"]
mod contract;
#[path = "../../tokio/tests/util/mod.rs"]
mod util;

use interloop::Service;
use interloop_glib::Glib;

contract!(Glib, || Service::new("contract"));
