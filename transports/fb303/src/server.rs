//! The task that serves only fb303.

use interloop::{Context, Result, Task, clap, net::Net, options::OptionDefaults};
use interloop_thrift::{Addresses, Listen, ThriftOptions, ThriftServer};
use thrift::{
    protocol::{TInputProtocol, TOutputProtocol},
    server::TProcessor,
};

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::{Base, Fb303};

/// One takes a profile, and one answers meanwhile.
const WORKERS: usize = if Base::has_profiler() { 2 } else { 0 };

/// fb303 at an address of its own: a task for any loop with sockets.
///
/// Everybody who reaches the address may read; it is on 127.0.0.1 unless [`host`](Self::host) or `--fb303-host` names
/// another. `setOption`, `reinitialize` and `shutdown` need `--fb303-allow-control`. With the feature `profile` it has
/// two [workers](ThriftServer::workers) by default, since a profile occupies one as long as it lasts; with
/// `--fb303-workers 0` profiles are refused. All other options, the counters and the way it stops are those of a
/// [`ThriftServer`].
///
/// ```no_run
/// use interloop::{Service, Thread};
/// use interloop_fb303::Fb303Server;
///
/// let mut service = Service::new("shop");
/// service.task_on::<Thread>("fb303", Fb303Server::new().port(9091));
/// service.run();
/// ```
#[derive(Debug)]
pub struct Fb303Server {
    server: ThriftServer,
    /// Known when the task begins.
    fb303: Late,
    control: bool,
}

impl Fb303Server {
    /// Creates one that listens on 127.0.0.1, on any free port, unless told otherwise.
    pub fn new() -> Self {
        let fb303 = Late::default();
        let server = ThriftServer::new(fb303.clone()).workers(WORKERS);
        Self { server, fb303, control: false }
    }

    /// Sets how it listens. Several calls are merged: hosts and listeners are added, and all else overrides earlier
    /// values. A `TcpListener` or a `UnixListener` of std works, too: see
    /// [`Listen`](Listen#sockets-that-are-bound-already).
    #[must_use]
    pub fn listen(self, listen: impl Into<Listen>) -> Self {
        Self { server: self.server.listen(listen), ..self }
    }

    interloop_listen::listen_setters!();

    /// Lets clients set options, reload the configuration, and stop the service, as `--fb303-allow-control` does.
    #[must_use]
    pub fn allow_control(self) -> Self {
        Self { control: true, ..self }
    }

    /// Answers calls on this many threads; 0 answers them on the loop's thread, and refuses profiles. 2 by default with
    /// the feature `profile`, otherwise 0.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        self.with(|server| server.workers(workers))
    }

    /// Sets the maximum length of a frame, or of an unframed message, in bytes: 16 MiB by default.
    #[must_use]
    pub fn max_frame_size(self, bytes: usize) -> Self {
        self.with(|server| server.max_frame_size(bytes))
    }

    /// Sets the maximum length of a string, in bytes: that of a frame by default.
    #[must_use]
    pub fn max_string_size(self, bytes: usize) -> Self {
        self.with(|server| server.max_string_size(bytes))
    }

    /// Sets how many elements a list, set or map may have: 1,000,000 by default.
    #[must_use]
    pub fn max_container_size(self, elements: usize) -> Self {
        self.with(|server| server.max_container_size(elements))
    }

    /// Sets how deep structs and containers may be nested: 64 by default.
    #[must_use]
    pub fn max_nesting(self, levels: usize) -> Self {
        self.with(|server| server.max_nesting(levels))
    }

    /// Sets how long a connection may be idle between two calls: 10 min by default, zero is no limit.
    #[must_use]
    pub fn idle_timeout(self, time: Duration) -> Self {
        self.with(|server| server.idle_timeout(time))
    }

    /// Sets how long a client may take to send a call, from its first byte to its last: 30 s by default, zero is no
    /// limit.
    #[must_use]
    pub fn read_timeout(self, time: Duration) -> Self {
        self.with(|server| server.read_timeout(time))
    }

    fn with(self, set: impl FnOnce(ThriftServer) -> ThriftServer) -> Self {
        Self { server: set(self.server), ..self }
    }

    /// Returns the addresses it listens on, known once it does.
    pub fn addresses(&self) -> Addresses {
        self.server.addresses()
    }
}

impl Default for Fb303Server {
    fn default() -> Self {
        Self::new()
    }
}

/// The options of an [`Fb303Server`], each prefixed with the task's name: `--fb303-port`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Fb303Options {
    #[command(flatten)]
    thrift: ThriftOptions,

    /// Let clients set options, reload the configuration, and stop the service
    #[arg(long)]
    allow_control: bool,
}

impl<L: Net> Task<L> for Fb303Server {
    type Options = Fb303Options;

    async fn run(&mut self, cx: Context<L, Fb303Options>) -> Result {
        let Fb303Options { thrift, allow_control } = cx.options();
        let profiles = self.server.worker_count(thrift) > 0;
        let fb303 =
            Fb303::new(cx.service().clone()).allow_control(self.control || *allow_control).allow_profiles(profiles);
        self.fb303.0.get_or_init(|| fb303);
        self.server.serve(&cx, thrift).await
    }

    fn defaults(&self) -> OptionDefaults {
        let defaults = self.server.defaults();
        if self.control { defaults.with("allow-control", true) } else { defaults }
    }

    fn check(&self, options: &Fb303Options) -> Result {
        self.server.check(&options.thrift)
    }
}

/// A processor that answers once the service is known.
#[derive(Clone, Debug, Default)]
struct Late(Arc<OnceLock<Fb303>>);

impl TProcessor for Late {
    fn process(&self, from: &mut dyn TInputProtocol, to: &mut dyn TOutputProtocol) -> thrift::Result<()> {
        match self.0.get() {
            Some(fb303) => fb303.process(from, to),
            None => Err("the task has not begun".into()),
        }
    }
}
