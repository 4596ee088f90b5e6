//! A service with fb303 in it, and clients.

// Each test file uses a part of this.
#![allow(dead_code, unreachable_pub)]

use std::{net::SocketAddr, time::Duration};

use interloop::{
    Service,
    net::Net,
    testing::{RunningTest, TestService},
};
use interloop_fb303::{Fb303Server, fb303::FacebookServiceSyncClient};
use interloop_thrift::{Address, Input, Output, Protocol, Wire, connect};

/// The time limit for any expected event.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A shop of version 1.2.3 that exports its owner, with fb303.
pub fn host<L: Net>(arguments: &[&str]) -> (RunningTest, SocketAddr) {
    let mut service = Service::new("shop");
    service.version("1.2.3").handle().export("owner", "Eve");
    service.task_on::<L>("fb303", Fb303Server::new());
    let test = TestService::new(service).args(arguments).start();
    let address = test.tcp("fb303");
    (test, address)
}

pub fn client(address: SocketAddr, wire: Wire) -> FacebookServiceSyncClient<Input, Output> {
    let (input, output) = connect(&Address::Tcp(address), wire, Some(PATIENCE)).expect("it listens");
    FacebookServiceSyncClient::new(input, output)
}

/// Returns every transport with every protocol.
pub fn wires() -> [Wire; 4] {
    let (binary, compact) = (Protocol::Binary, Protocol::Compact);
    let (framed, buffered) = (Wire::framed(), Wire::buffered());
    [
        framed.clone().protocol(binary),
        framed.protocol(compact),
        buffered.clone().protocol(binary),
        buffered.protocol(compact),
    ]
}
