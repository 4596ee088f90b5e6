//! Helpers for the tests of all transports: a watchdog, patience, the ways in which a loop is run.

#![forbid(unsafe_code)]

#[cfg(feature = "certificates")]
pub mod certificates;
pub mod http2;

use std::{sync::mpsc, thread, time::Duration};

use interloop::{EventLoop, Service, clap};
#[doc(hidden)]
pub use interloop_own_process::own_process_of_thread;

/// The time limit for any expected event.
pub const PATIENCE: Duration = Duration::from_secs(20);

const LIMIT: Duration = Duration::from_secs(60);

/// Ends the process if the test takes longer than a minute.
pub fn watchdog() -> mpsc::Sender<()> {
    let (over, wait) = mpsc::channel();
    let name = thread::current().name().unwrap_or_default().to_owned();
    thread::spawn(move || {
        // Dropping the other end ends the wait.
        if wait.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name}: watchdog: not through after {LIMIT:?}");
            std::process::abort();
        }
    });
    over
}

/// Returns the output of a service that is asked for something, `--help` or `--dry-run`.
///
/// # Panics
///
/// Panics if it starts instead, or is refused.
#[track_caller]
pub fn printed(mut service: Service, word: &str) -> String {
    service.arguments([word]);
    let stop = service.start().map(drop).expect_err("it prints something, and ends");
    assert_eq!(stop.code(), 0, "{stop}");
    stop.to_string()
}

/// Checks that the values that the code of this service has set are defaults in its help, and that a dry run says where
/// they come from: for the options with these names, these values.
///
/// # Panics
///
/// Panics if one is not.
#[track_caller]
pub fn shows_what_code_has_set(make: impl Fn() -> Service, task: &str, values: &[(&str, &str)]) {
    let (help, dry) = (printed(make(), "--help"), printed(make(), "--dry-run"));
    let mut section = dry.lines().skip_while(|line| *line != format!("[{task}]")).skip(1);
    let section = section.by_ref().take_while(|line| !line.starts_with('[')).collect::<Vec<_>>();
    for (option, value) in values {
        let flag = format!("--{task}-{option}");
        // Not where the last sentence has it as its example.
        let place = [" ", "\n"].iter().find_map(|end| help.find(&format!("\n      {flag}{end}"))).expect(&flag);
        let rest = &help[place + 7 + flag.len()..];
        let next = rest.find("      --").unwrap_or(rest.len());
        let told = &rest[..next];
        assert!(told.contains(&format!("[default: {value}]")), "{flag}: {told}");
        assert_eq!(told.matches("default").count(), 1, "{flag} tells of two defaults: {told}");
        let line =
            section.iter().find(|line| line.starts_with(&format!("# {option} = "))).expect("a line in the dry run");
        assert!(line.ends_with(" # code"), "{line}");
    }
}

/// Waits for something that has no event of its own.
///
/// # Panics
///
/// Panics if it doesn't happen.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() {
        if holds() {
            return;
        }
        // Not for order, only to avoid spinning: the condition decides.
        thread::sleep(Duration::from_millis(1));
    }
    panic!("never: {what}");
}

/// Returns the ways in which this kind of loop is run: arguments of the service.
pub fn variants<L: EventLoop>() -> &'static [&'static [&'static str]] {
    if L::NAME == "tokio" { &[&[], &["--tokio-worker-threads", "2"]] } else { &[&[]] }
}

/// Checks that the task has a method for each of its options, by the option's name: these, which are called, and those
/// listed after them.
///
/// ```text
/// every_option_has_a_method!(HttpOptions, HttpServer::new(()); port(1), unix_mode(0o600); &["tls-cert"]);
/// ```
#[macro_export]
macro_rules! every_option_has_a_method {
    ($options:ty, $task:expr; $($method:ident($($argument:expr),*)),+ $(; $others:expr)?) => {
        drop($task$(.$method($($argument),*))+);
        let others: &[&str] = &[];
        $(let others: &[&str] = $others;)?
        $crate::has_options::<$options>(&[$(stringify!($method)),+], others);
    };
}

/// Checks that these are all the options that there are: by the names of methods, and by their own.
///
/// # Panics
///
/// Panics if one is missing, or there is no such option.
pub fn has_options<O: clap::Args>(methods: &[&str], others: &[&str]) {
    let command = O::augment_args(clap::Command::new("options"));
    let longs = command.get_arguments().filter_map(|option| option.get_long().map(str::to_owned));
    let mut options: Vec<String> = longs.collect();
    let methods = methods.iter().map(|method| method.replace('_', "-"));
    let mut named: Vec<String> = methods.chain(others.iter().map(|&other| other.to_owned())).collect();
    options.sort();
    named.sort();
    assert_eq!(named, options, "left: the methods; right: the options");
}

/// Makes a test of each of these functions, which are generic over their loop, on each of these loops: in a module for
/// each loop.
///
/// Each has a process of its own, also under `cargo test`: some loops exist once per process (glib's default context),
/// and some tests count descriptors.
///
/// ```text
/// on_loops! { { on_thread: interloop::Thread, on_glib: interloop_glib::Glib } { it_answers, it_stops, } }
/// ```
#[macro_export]
macro_rules! on_loops {
    ({ $($module:ident: $loop:ty),+ } $tests:tt) => { $($crate::on_loops! { @ $module $loop, $tests })+ };
    (@ $module:ident $loop:ty, { $($test:ident,)+ }) => {
        mod $module {
            $(#[test]
            fn $test() {
                $crate::own_process_of_thread(super::$test::<$loop>);
            })+
        }
    };
}
