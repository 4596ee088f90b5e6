//! Resolves a host name every so often, and logs when its addresses change.
//!
//! ```sh
//! dns-checker --dns-host debian.org --dns-interval 5s
//! ```
//!
//! The work has options and counters of its own: an `impl Work`. It runs on any loop, since the core resolves names on
//! all of them.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use interloop::{
    Context, EventLoop, Result, Service, Thread, clap,
    tasks::{Poller, Work},
};

type Addresses = BTreeSet<IpAddr>;

struct Dns;

#[derive(clap::Args)]
struct DnsOptions {
    /// The name to look up
    #[arg(long, default_value = "localhost")]
    host: String,
}

impl<L: EventLoop> Work<L> for Dns {
    type Options = DnsOptions;
    type Output = Addresses;

    async fn run(&mut self, cx: Context<L, DnsOptions>) -> Result<Addresses> {
        // A set has no order, so a different order of the servers changes nothing.
        let found: Addresses = cx.resolve(&cx.options().host, 0).await?.iter().map(|address| address.ip()).collect();
        cx.counter("addresses_seen").add(found.len() as u64);
        Ok(found)
    }
}

/// Returns the service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("dns-checker");
    let dns = Poller::of(Duration::from_secs(60), Dns).on_change(tell);
    service.task_on::<Thread>("dns", dns);
    service
}

fn tell(old: Option<&Addresses>, new: &Addresses) {
    match old {
        None => log::info!("the addresses are {new:?}"),
        Some(old) => log::info!("the addresses have changed from {old:?} to {new:?}"),
    }
}
