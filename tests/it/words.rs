//! What is shown as text can be read again, and what a status page shows can be serialized.

use std::{fmt::Display, str::FromStr};

#[cfg(feature = "net")]
use interloop::net::Address;
#[cfg(feature = "cron")]
use interloop::tasks::Cron;
use interloop::{State, service::Phase};
use proptest::prelude::*;

const STATES: [State; 9] = [
    State::Waiting,
    State::Starting,
    State::Running,
    State::Stopping,
    State::Stopped,
    State::Failed,
    State::Cancelled,
    State::Abandoned,
    State::Skipped,
];
const PHASES: [Phase; 5] = [Phase::New, Phase::Starting, Phase::Running, Phase::Stopping, Phase::Ended];

/// Whether a text that parses is the text of what it parses to.
fn is_its_text<T: FromStr + Display>(text: &str) -> bool {
    text.parse::<T>().map_or(true, |value| value.to_string() == text)
}

#[cfg(feature = "net")]
fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        any::<std::net::SocketAddrV4>().prop_map(|address| Address::Tcp(address.into())),
        any::<[u16; 8]>().prop_map(|ip| Address::Tcp((ip, 80).into())),
        "/[^\0]{0,20}".prop_map(|path| Address::Unix(path.into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_state_and_a_phase_are_read_as_they_are_shown(
        state in proptest::sample::select(STATES.as_slice()),
        phase in proptest::sample::select(PHASES.as_slice()),
        text in "[a-z ]{0,9}|[wsrfaken]{3,10}ing|.{0,4}",
    ) {
        prop_assert_eq!(state.to_string().parse::<State>(), Ok(state));
        prop_assert_eq!(phase.to_string().parse::<Phase>(), Ok(phase));
        prop_assert!(is_its_text::<State>(&text) && is_its_text::<Phase>(&text));
        prop_assert!(state.to_string().to_uppercase().parse::<State>().is_err());
        let why = format!("no state of a task: {:?}", format!("{state} "));
        prop_assert_eq!(format!("{state} ").parse::<State>().unwrap_err().to_string(), why);
    }

    #[cfg(feature = "net")]
    #[test]
    fn an_address_is_read_as_it_is_shown(address in address()) {
        prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
    }

    #[cfg(feature = "cron")]
    #[test]
    fn a_cron_expression_is_read_as_it_is_shown(minute in 0..60, hour in 0..24, day in "MON|TUE|FRI|[*]|1-5") {
        let text = format!("{minute} {hour} * * {day} UTC");
        let cron: Cron = text.parse().unwrap();
        let again: Cron = cron.to_string().parse().unwrap();
        prop_assert_eq!(cron.to_string(), again.to_string());
        prop_assert_eq!(cron.to_string(), text);
    }
}

#[cfg(all(feature = "serde", feature = "testing"))]
#[test]
fn the_options_are_serialized_as_a_page_shows_them() {
    use interloop::{Service, tasks::Periodic, testing::TestService};
    crate::util::watched(|| {
        let mut service = Service::new("test");
        service.task_on::<interloop::Thread>("job", Periodic::new(std::time::Duration::from_secs(5), || ()));
        let test = TestService::new(service).args(["--job-interval", "7s"]).start();
        let option = test.handle().options().get("job-interval").expect("it has that option");
        let json = serde_json::to_value(&option).expect("it has only texts and flags");
        let expected = serde_json::json!({
            "name": "job-interval", "owner": "task job", "value": "7s", "kind": "text", "is_secret": false,
            "origin": "command line",
        });
        assert_eq!(json, expected);
        let applied = test.handle().options().set("job-interval", "8s").expect("it can be set");
        assert_eq!(serde_json::to_value(applied).expect("it is a text"), "now");
    });
}
