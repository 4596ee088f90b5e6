//! What every loop has to keep, by a private context.

#[path = "../../tokio/tests/contract/mod.rs"]
mod contract;
#[path = "../../tokio/tests/util/mod.rs"]
mod util;

use interloop::Service;
use interloop_glib::Glib;

contract!(Glib, || {
    let mut service = Service::new("contract");
    service.event_loop("glib", Glib::private());
    service
});
