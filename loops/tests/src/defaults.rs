//! The builder methods of a plan, for every loop that has some.

use interloop::{EventLoop, Service, options::Origin, task_fn};

use crate::{down, up};

/// Checks that the plan's code gives this option this value as its default, and that the command line takes precedence.
pub fn are_defaults_of_the_option<L: EventLoop>(plan: &L, option: &str, value: &str, other: &str) {
    let service = |words: Option<String>| {
        let mut service = Service::new("defaults");
        service.event_loop(L::NAME, plan.clone());
        service.task(
            "waits",
            task_fn::<L>(async |cx| {
                cx.until_shutdown().await;
                Ok(())
            }),
        );
        service.arguments(words);
        service
    };
    let name = format!("{}-{option}", L::NAME);
    for (words, origin, value) in
        [(None, Origin::Code, value), (Some(format!("--{name}={other}")), Origin::CommandLine, other)]
    {
        let running = up(service(words));
        let shown = running.options().get(&name).expect("the loop has this option").clone();
        assert_eq!((shown.value(), shown.origin()), (Some(value), &origin));
        down(running);
    }
    let shown = service(Some("--dry-run".to_owned())).start().map(drop).unwrap_err().to_string();
    let toml = value.parse::<u64>().map_or_else(|_| format!("{value:?}"), |number| number.to_string());
    assert!(shown.contains(&format!("\n[{}]\n# {option} = {toml} # code", L::NAME)), "{shown}");
}
