//! The example thrift-multiplexed: two services at one address, on each of its loops.

use interloop_e2e::{Example, SOON, Signal, watched};
use interloop_thrift::{Address, Protocol, Wire, connect};
use thrift::protocol::TMultiplexedOutputProtocol;
use thrift_multiplexed::house::{BellSyncClient, DoorSyncClient, NobodyThere, TBellSyncClient, TDoorSyncClient};

fn serves(on: &str) {
    let mut example = Example::start("thrift-multiplexed", &["--thrift-port", "0", "--thrift-loop", on]);
    let address = Address::Tcp(example.address("thrift"));
    let mut entered = 0;
    for transport in [Wire::framed(), Wire::buffered()] {
        for protocol in [Protocol::Binary, Protocol::Compact] {
            let wire = transport.clone().protocol(protocol);
            let (input, output) = connect(&address, wire.clone(), Some(SOON)).expect("it listens");
            // The default needs no name.
            let mut door = DoorSyncClient::new(input, output);
            entered += 1;
            assert_eq!(door.enter("anna".to_owned()).expect("an answer"), entered);
            assert_eq!(door.guests().expect("an answer"), ["anna"]);
            door.leave("anna".to_owned()).expect("she was in");
            match door.leave("anna".to_owned()) {
                Err(thrift::Error::User(error)) => assert!(error.is::<NobodyThere>()),
                other => panic!("{other:?}"),
            }
            let (input, output) = connect(&address, wire.clone(), Some(SOON)).expect("it listens");
            let mut bell = BellSyncClient::new(input, TMultiplexedOutputProtocol::new("Bell", output));
            bell.ring(format!("{wire:?}")).expect("it is sent");
            assert_eq!(bell.rung().expect("an answer")[0], format!("{wire:?}"));
        }
    }
    example.signal(Signal::TERM);
    assert_eq!(example.wait(), 0);
    let log = example.whole_log();
    assert!(log.contains("anna comes in") && log.contains("stopped gracefully"), "{log}");
}

#[test]
fn two_services_are_at_one_address_on_each_loop() {
    watched(|| ["thread", "tokio", "glib"].into_iter().for_each(serves));
}
