//! The panic hook of `run()`. It logs one message with the task, the loop and the location, and a backtrace if
//! `RUST_BACKTRACE` asks for one.

use std::{
    backtrace::Backtrace,
    env,
    panic::{self, PanicHookInfo},
    ptr,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use super::supervisor::outside::Outside;
use crate::{
    channel::this_thread,
    kit::panics::{NOTHING, said, set_logged},
    words::hints,
};

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// The services that run as the process; there is rarely more than one. Without one, the hook only calls the hook
/// before it.
static SERVICES: RwLock<Vec<Arc<Service>>> = RwLock::new(Vec::new());

struct Service {
    name: String,
    /// Reaches a logger of the program's, which may panic or block.
    outside: Outside,
}
/// The address of our hook, once it was set.
static OURS: Mutex<usize> = Mutex::new(0);

/// Logs panics for a service until this is dropped.
///
/// The hook itself stays and calls its predecessor. Removing it would need a lock that a panic holds while its hook
/// runs, and would remove a hook that was set later.
pub(crate) struct PanicHook(Arc<Service>);

impl PanicHook {
    pub(crate) fn install(name: &str, outside: &Outside) -> Self {
        let service = Arc::new(Service { name: name.to_owned(), outside: outside.clone() });
        SERVICES.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&service));
        let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
        let before = panic::take_hook();
        if *ours == address(&before) {
            panic::set_hook(before);
            return Self(service);
        }
        // `take_hook` itself restores std's hook, so this compares with std's, which would print everything again on
        // stderr.
        let standard = ptr::eq(&raw const *before, &raw const *panic::take_hook());
        let hook: Hook = Box::new(move |info| {
            let service = SERVICES.read().unwrap_or_else(PoisonError::into_inner).last().cloned();
            let logged = service.is_some_and(|service| log_panic(&service, info));
            if !(logged && standard) {
                before(info);
            }
        });
        *ours = address(&hook);
        panic::set_hook(hook);
        Self(service)
    }
}

impl Drop for PanicHook {
    fn drop(&mut self) {
        let mut services = SERVICES.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(ours) = services.iter().position(|service| Arc::ptr_eq(service, &self.0)) {
            services.remove(ours);
        }
    }
}

fn address(hook: &Hook) -> usize {
    (&raw const **hook).addr()
}

/// Logs the panic; returns false if nobody reads the log.
///
/// A panic in a panic hook aborts the process, so only our own logger runs here. Another may even be the origin
/// of the panic.
fn log_panic(service: &Service, info: &PanicHookInfo<'_>) -> bool {
    let (task, loop_) = this_thread::names();
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let target = task.as_ref().map_or_else(|| service.name.clone(), |task| format!("{}.{task}", service.name));
    // Whether the task or the loop dies of it is unknown here: somebody may catch the panic, as servers do for handlers.
    let who = match (&task, &loop_) {
        (Some(task), Some(l)) => format!("code of task {task} on loop {l}"),
        (Some(task), None) => format!("code of task {task}"),
        (None, Some(l)) if this_thread::runs_a_job() => format!("a job on loop {l}"),
        (None, Some(l)) => format!("code on loop {l}"),
        (None, None) => format!("thread {}", std::thread::current().name().unwrap_or("without a name")),
    };
    let said = said(info.payload()).unwrap_or(NOTHING);
    let hint = hints::of_panic(said).map(|hint| format!("; {hint}")).unwrap_or_default();
    let text = || format!("{who} panicked at {place}: {said}{hint}{}", backtrace());
    // The consequences of the panic are not logged again.
    let logged = || {
        set_logged(said);
        let of = task.as_ref().map(|task| format!("task {task}")).or(loop_.as_ref().map(|l| format!("loop {l}")));
        if let Some(of) = of {
            service.outside.note_panic(of, said);
        }
    };
    #[cfg(feature = "logging")]
    if crate::logging::is_ours() {
        if !log::log_enabled!(target: &target, log::Level::Error) {
            return false;
        }
        // Marked first, so that its consequences aren't logged before it.
        logged();
        log::error!(target: &target, "{}", text());
        crate::logging::after_panic();
        return true;
    }
    let is_logged = service.outside.log_panic(&target, text);
    if is_logged {
        logged();
    }
    is_logged
}

/// Returns the lines of a backtrace, by std's rules for panics.
fn backtrace() -> String {
    match env::var_os("RUST_BACKTRACE") {
        None => String::new(),
        Some(off) if off == "0" => String::new(),
        Some(full) if full == "full" => format!("\nstack backtrace:\n{:#}", Backtrace::force_capture()),
        Some(_) => format!("\nstack backtrace:\n{}", short(&Backtrace::force_capture().to_string())),
    }
}

/// Omits the frames that std omits: those of the panic itself, and those that lead to the thread's own function; and
/// all frames of the standard library, which are half of a future's.
fn short(trace: &str) -> String {
    let lines = trace.lines().collect::<Vec<_>>();
    let find = |marker| lines.iter().position(|line| line.contains(marker));
    // The location of the marker's own frame is on a separate line.
    let begin = find("__rust_end_short_backtrace").map_or(0, |frame| frame + 2);
    let end = find("__rust_begin_short_backtrace").unwrap_or(lines.len());
    let lines = lines.get(begin..end).unwrap_or(&lines);
    // A frame is a line with its name, and perhaps one with its place.
    let frames = lines.chunk_by(|_, next| next.trim_start().starts_with("at ")).collect::<Vec<_>>();
    let shown = frames.iter().filter(|frame| !frame.iter().any(|line| is_of_std(line))).copied().collect::<Vec<_>>();
    let omitted = frames.len() - shown.len();
    let mut text = shown.concat().join("\n");
    if omitted > 0 {
        text += &format!("\n{omitted} frames of the standard library are left out: RUST_BACKTRACE=full shows them");
    }
    text
}

/// Whether this line of a backtrace is about the standard library: its name or its place.
fn is_of_std(line: &str) -> bool {
    let line = line.trim_start();
    if let Some(place) = line.strip_prefix("at ") {
        return place.starts_with("/rustc/") || place.contains("/lib/rustlib/src/rust/");
    }
    let name = line.split_once(": ").map_or(line, |(_, name)| name).trim_start_matches('<');
    ["core::", "alloc::", "std::"].iter().any(|of| name.starts_with(of))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_short_backtrace_has_neither_the_panic_s_own_frames_nor_those_of_the_standard_library() {
        let trace = "   0: std::backtrace::Backtrace::force_capture
             at /rustc/5980/library/std/src/backtrace.rs:313:9
   1: std::sys::backtrace::__rust_end_short_backtrace
             at /rustc/5980/library/std/src/sys/backtrace.rs:182:18
   2: core::panicking::panic_fmt
   3: shop::crash::{{closure}}
             at ./src/lib.rs:7:5
   4: <core::pin::Pin<P> as core::future::future::Future>::poll
             at /home/me/.rustup/toolchains/stable/lib/rustlib/src/rust/library/core/src/future/future.rs:133:9
   5: <axum::handler::Layered<L> as tower::Service>::call
   6: std::sys::backtrace::__rust_begin_short_backtrace
   7: main";
        assert_eq!(
            short(trace),
            "   3: shop::crash::{{closure}}
             at ./src/lib.rs:7:5
   5: <axum::handler::Layered<L> as tower::Service>::call
2 frames of the standard library are left out: RUST_BACKTRACE=full shows them"
        );
        assert_eq!(short("a platform's own format"), "a platform's own format");
    }
}
