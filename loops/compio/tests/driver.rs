//! The driver of a runtime, set by its plan and by the option.

use interloop::{Service, clap::ValueEnum};
use interloop_compio::{Compio, Driver};
use interloop_loop_tests::{LONG, defaults::are_defaults_of_the_option, down, up, watchdog};

/// Whether the loop of this plan polls, with these command-line arguments.
fn polls(plan: Compio, words: Option<&str>) -> bool {
    let mut service = Service::new("driver");
    let compio = service.event_loop("compio", plan).remote();
    service.arguments(words);
    let running = up(service);
    let polls = compio.call(|native| native.runtime().map(|runtime| runtime.driver_type().is_polling()));
    let polls = polls.wait_timeout(LONG).unwrap().expect("the runtime is there");
    down(running);
    polls
}

#[test]
fn a_plan_says_what_it_stands_on_and_the_command_line_goes_before() {
    let _watchdog = watchdog();
    are_defaults_of_the_option(&Compio::default().driver(Driver::Poll), "driver", "poll", "auto");
    assert!(polls(Compio::default().driver(Driver::Poll), None));
    assert!(polls(Compio::default().driver(Driver::IoUring), Some("--compio-driver=poll")));
    assert_eq!(
        polls(Compio::default(), None),
        polls(Compio::default().driver(Driver::Poll), Some("--compio-driver=auto"))
    );
}

#[test]
fn a_driver_is_read_as_it_is_written_and_as_the_option_takes_it() {
    for driver in Driver::value_variants() {
        let text = driver.to_string();
        assert_eq!(text.parse::<Driver>().unwrap(), *driver);
        assert_eq!(Driver::from_str(&text, false), Ok(*driver));
    }
    let error = "uring".parse::<Driver>().unwrap_err();
    assert_eq!(error.to_string(), "no driver \"uring\": it must be auto, io-uring or poll");
}
