//! Tests the service on each of its loops, with generated clients.

use std::time::Duration;

use interloop::testing::TestService;
use interloop_thrift::{Address, Wire, connect};
use thrift::protocol::TMultiplexedOutputProtocol;
use thrift_multiplexed::house::{BellSyncClient, DoorSyncClient, TBellSyncClient, TDoorSyncClient};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_door_and_a_bell_are_at_one_address() {
    for on in ["thread", "tokio", "glib"] {
        let args = ["--thrift-port", "0", "--thrift-loop", on];
        let test = TestService::new(thrift_multiplexed::service()).args(args).start();
        let address = Address::Tcp(test.tcp("thrift"));
        let (input, output) = connect(&address, Wire::framed(), Some(SOON)).unwrap();
        assert_eq!(DoorSyncClient::new(input, output).enter("anna".to_owned()).unwrap(), 1);
        let (input, output) = connect(&address, Wire::framed(), Some(SOON)).unwrap();
        let mut bell = BellSyncClient::new(input, TMultiplexedOutputProtocol::new("Bell", output));
        bell.ring("bert".to_owned()).unwrap();
        assert_eq!(bell.rung().unwrap(), ["bert"]);
        test.stop().assert_clean();
    }
}
