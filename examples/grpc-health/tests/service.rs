//! Tests the service on each of its loops, with the generated client.

use grpc_health::tally::{Amount, Nothing, tally_client::TallyClient};
use interloop::testing::TestService;
use tonic::transport::Channel;

#[test]
fn who_follows_is_told_the_totals_until_the_service_stops() {
    for on in ["thread", "tokio", "glib"] {
        let args = ["--grpc-port", "0", "--grpc-loop", on];
        let test = TestService::new(grpc_health::service()).args(args).start();
        let address = format!("http://{}", test.tcp("grpc"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (client, mut totals) = runtime.block_on(async {
            let mut client = TallyClient::new(Channel::from_shared(address).unwrap().connect().await.unwrap());
            let mut totals = client.follow(Nothing {}).await.unwrap().into_inner();
            assert_eq!(totals.message().await.unwrap(), Some(Amount { value: 0 }));
            assert_eq!(client.add(Amount { value: 3 }).await.unwrap().into_inner().value, 3);
            assert_eq!(totals.message().await.unwrap(), Some(Amount { value: 3 }));
            (client, totals)
        });
        test.handle().request_shutdown("test");
        assert_eq!(runtime.block_on(totals.message()).unwrap(), None);
        drop((client, runtime));
        test.join().assert_clean();
    }
}
