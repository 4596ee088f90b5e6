//! Watches a folder, and runs a shell command at the start and whenever something in it has changed.
//!
//! ```sh
//! dev-watcher --sources-path src --build-command "cargo build"
//! ```
//!
//! However many files change during a build, one more build follows. On ^C the current build is finished first.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    process::Command,
    task::Poll,
    time::{Duration, Instant},
};

use interloop::{
    Context, EventLoop, Result, Service, Task, Thread, clap,
    tasks::{DirectoryWatcher, Entry, WatcherHandle, Workers},
};

struct Build {
    sources: WatcherHandle,
}

#[derive(clap::Args)]
struct BuildOptions {
    /// The shell command to run
    #[arg(long, default_value = "cargo build")]
    command: String,
}

impl<L: EventLoop> Task<L> for Build {
    type Options = BuildOptions;

    async fn run(&mut self, cx: Context<L, BuildOptions>) -> Result {
        let (mut changes, builds) = (self.sources.changes(), cx.counter("builds"));
        let workers = Workers::start(&cx, 1)?;
        let mut stop = pin!(cx.until_shutdown());
        loop {
            let (command, begun) = (cx.options().command.clone(), Instant::now());
            let status = workers.run(move || Command::new("sh").arg("-c").arg(command).status()).await??;
            log::info!(target: cx.target(), "{status} after {:.1} s", begun.elapsed().as_secs_f64());
            builds.add(1);

            let change = {
                let mut next = pin!(changes.next());
                poll_fn(|context| match stop.as_mut().poll(context) {
                    Poll::Ready(()) => Poll::Ready(None),
                    Poll::Pending => next.as_mut().poll(context),
                })
                .await
            };
            match change {
                Some(change) => log::info!(target: cx.target(), "{change}"),
                None => return Ok(()),
            }
            while let Some(change) = changes.try_next() {
                log::info!(target: cx.target(), "{change}");
            }
        }
    }
}

/// Returns the service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("dev-watcher");
    let sources = DirectoryWatcher::new(".", |_| ()).recursive().filter(is_source).debounce(Duration::from_millis(200));
    let handle = sources.handle();
    service.task_on::<Thread>("sources", sources);
    service.task_on::<Thread>("build", Build { sources: handle.clone() }).uses(&handle);
    service
}

/// Returns whether an entry is a source: neither hidden nor made by a build.
fn is_source(entry: &Entry) -> bool {
    let name = entry.path.file_name().unwrap_or_default().to_string_lossy();
    let is_made = entry.is_dir && name == "target";
    !name.starts_with('.') && !is_made
}
