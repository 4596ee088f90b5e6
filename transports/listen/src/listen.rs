//! How a server listens, as its code says: one value that every server takes.

use std::{net::TcpListener, sync::Arc, time::Duration};
#[cfg(unix)]
use std::{os::unix::net::UnixListener, path::PathBuf};

use interloop::{
    Result,
    net::{Bound, Inherited},
    options::OptionDefaults,
};

use crate::{ListenOptions, Pace, Place, handed};
#[cfg(feature = "tls")]
use crate::{TlsOptions, TlsSettings};

/// How a server listens: where, for how many connections, with which time limits for slow clients, and, with the
/// feature `tls`, over TLS. Every server takes one with its `listen` method; servers also have some of these methods
/// themselves.
///
/// All values are defaults: the server's options, such as `--{task}-port`, take precedence. Each method names the value
/// that holds if it isn't called.
///
/// ```
/// use interloop_listen::Listen;
///
/// # fn main() -> std::io::Result<()> {
/// let public = Listen::port(8000).host("0.0.0.0").host("::").max_connections(10_000);
/// let local = Listen::new().unix("/run/hello.sock").unix_mode(0o600);
/// let bound_already = Listen::from(std::net::TcpListener::bind("127.0.0.1:0")?);
/// # drop((public, local, bound_already));
/// # Ok(())
/// # }
/// ```
///
/// # Sockets that are bound already
///
/// `Listen::from` takes a [`TcpListener`], a `UnixListener` or a [`Bound`]; [`listener`](Self::listener) adds further
/// ones. Listeners of tokio are converted with their `into_std`. The server listens on these sockets in addition to the
/// places that its options and the code name; if none is named, only on these. It makes the socket nonblocking, and
/// sets TCP keep-alive as on its own sockets; it never removes the file of a `UnixListener`.
///
/// Clones share the same sockets, and each incarnation of the server accepts from a duplicate. So keep a clone if the
/// server is recreated for each incarnation: clients that connect between two incarnations wait in the system's queue.
/// They wait until the last clone is dropped, so the program that keeps a clone decides when clients are refused.
///
/// ```
/// # use interloop::{Service, Thread};
/// # use interloop_listen::Listen;
/// # fn server(_: Listen) -> impl interloop::Task<Thread> { interloop::task_fn(async |_| Ok(())) }
/// # fn main() -> std::io::Result<()> {
/// # let mut service = Service::new("hello");
/// let listen = Listen::from(std::net::TcpListener::bind("127.0.0.1:0")?);
/// service.task_with::<Thread>("http", move || server(listen.clone()));
/// # Ok(())
/// # }
/// ```
///
/// If such a socket doesn't listen, startup fails with a one-line error and exit code 78. In a task that is recreated
/// for each incarnation, the task fails instead.
///
/// # Sockets that were passed to the process
///
/// A service manager may listen for the service (systemd's socket units), and so may any parent: see
/// [`interloop::net`](interloop::net#inherited-sockets). `--{task}-listen fd:NAME` names such a socket; in code,
/// [`inherited`](Self::inherited) does. A server that names none gets a socket with the name of its task, or the only
/// one if it is the only server. That socket replaces the places that the code names, such as a port, and is added to
/// those that options name. So the same program works with and without a manager.
///
/// ```
/// use interloop_listen::Listen;
///
/// // Only on the socket of the unit with FileDescriptorName=web; without it, startup fails.
/// let listen = Listen::new().inherited("web");
/// # drop(listen);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Listen {
    said: ListenOptions,
    /// Sockets bound by somebody else. Dropping the last clone closes them.
    listeners: Vec<Arc<Bound>>,
    #[cfg(feature = "tls")]
    tls: TlsOptions,
}

impl Listen {
    /// Listens on 127.0.0.1, on any free port, unless told otherwise.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens on this port, on all hosts; 0 picks one that is free on all of them.
    pub fn port(port: u16) -> Self {
        let mut listen = Self::new();
        listen.said.port = Some(port);
        listen
    }

    /// Listens on this address or host name, in addition to others that were named. `::` and `0.0.0.0` can be combined.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.said.host.push(host.into());
        self
    }

    /// Listens on this socket, which listens already, in addition to all other places: see
    /// [above](#sockets-that-are-bound-already).
    #[must_use]
    pub fn listener(mut self, listener: impl Into<Bound>) -> Self {
        self.listeners.push(Arc::new(listener.into()));
        self
    }

    /// Listens on the sockets that a service manager or a parent has passed with this name, in addition to all other
    /// places that the code names: see [above](#sockets-that-were-passed-to-the-process).
    #[must_use]
    pub fn inherited(mut self, name: impl Into<String>) -> Self {
        self.said.listen.push(Inherited::named(name));
        self
    }

    /// Listens on a Unix socket; only there if neither a host nor a port is named.
    ///
    /// A socket that a dead process has left at this path is replaced; one that another process listens on is an error.
    #[cfg(unix)]
    #[must_use]
    pub fn unix(mut self, path: impl Into<PathBuf>) -> Self {
        self.said.unix = Some(path.into());
        self
    }

    /// Sets the permissions of the Unix socket: `0o660` by default.
    #[cfg(unix)]
    #[must_use]
    pub fn unix_mode(mut self, mode: u32) -> Self {
        self.said.unix_mode = Some(mode);
        self
    }

    /// Sets the group of the Unix socket, by name or number.
    #[cfg(unix)]
    #[must_use]
    pub fn unix_group(mut self, group: impl Into<String>) -> Self {
        self.said.unix_group = Some(group.into());
        self
    }

    /// Sets how many connections are served at once; further ones wait in the system's queue. 0, the default, is no
    /// limit.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.said.max_connections = Some(connections);
        self
    }

    /// Sets the minimum rate, in bytes a second, at which a client must send the rest of what it has begun (a body, a
    /// call, a message) and take what it is sent: 500 by default; 0 asks only for some progress.
    ///
    /// A client may fall behind by the [grace](Self::rate_grace); faster bytes make up for that, but aren't saved for
    /// later. Only the time counts during which the server wants to read or has something to send. After that the
    /// connection is closed; over HTTP/2 only the one request is reset, unless closing the connection is the only way.
    /// Between two messages of a gRPC stream a client may be silent for as long as it likes.
    #[must_use]
    pub fn min_rate(mut self, bytes: usize) -> Self {
        self.said.min_rate = Some(bytes);
        self
    }

    /// Sets how far a client may fall behind the [minimum rate](Self::min_rate): 20 s by default, zero is no limit. The
    /// grace is never longer than the server's idle timeout.
    #[must_use]
    pub fn rate_grace(mut self, time: Duration) -> Self {
        self.said.rate_grace = Some(time);
        self
    }

    /// Sets the silence after which the system asks the client's system whether the client is still there (TCP
    /// keep-alive): 60 s by default, in whole seconds, zero is never. A client that hasn't answered after twice the
    /// time counts as gone.
    #[must_use]
    pub fn tcp_keepalive(mut self, time: Duration) -> Self {
        self.said.tcp_keepalive = Some(time);
        self
    }

    /// Serves over TLS 1.2 and 1.3. One PEM file holds the certificate first, then any intermediates; another holds its
    /// private key. A [reload](interloop::ServiceHandle::reload) of the service reads them again for new connections;
    /// if they are unusable, the reload is refused.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls.tls_cert = Some(cert.into());
        self.tls.tls_key = Some(key.into());
        self
    }

    /// Serves only clients with a certificate from one of the CAs in this PEM file.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_client_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.tls_client_ca = Some(path.into());
        self
    }

    /// Sets how long a client may take for the TLS handshake, from the start of the connection: 10 s by default, zero
    /// is no limit.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_handshake_timeout(mut self, time: Duration) -> Self {
        self.tls.tls_handshake_timeout = Some(time);
        self
    }

    /// Sets how many TLS handshakes run at once: 1000 by default, 0 is no limit. A handshake counts from its client's
    /// first message; further ones wait, within their time limit.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_max_handshakes(mut self, handshakes: usize) -> Self {
        self.tls.tls_max_handshakes = Some(handshakes);
        self
    }
}

/// Listens only on this socket, unless other places are named.
impl From<TcpListener> for Listen {
    fn from(listener: TcpListener) -> Self {
        Self::new().listener(listener)
    }
}

/// Listens only on this socket, unless other places are named.
#[cfg(unix)]
impl From<UnixListener> for Listen {
    fn from(listener: UnixListener) -> Self {
        Self::new().listener(listener)
    }
}

/// Listens only on this socket, unless other places are named.
impl From<Bound> for Listen {
    fn from(bound: Bound) -> Self {
        Self::new().listener(bound)
    }
}

/// Methods for servers.
impl Listen {
    /// Merges a later value into this one: hosts and listeners are added, and all else overrides the earlier value.
    pub fn merge(&mut self, later: Self) {
        self.said.merge(later.said);
        self.listeners.extend(later.listeners);
        #[cfg(feature = "tls")]
        self.tls.merge(later.tls);
    }

    /// Returns these values as option defaults for a server whose options contain [`ListenOptions`] and, if `with_tls`,
    /// [`TlsOptions`](crate::TlsOptions): for its [`Task::defaults`](interloop::Task::defaults).
    pub fn defaults(&self, with_tls: bool) -> OptionDefaults {
        let defaults = self.said.defaults();
        #[cfg(feature = "tls")]
        if with_tls {
            return defaults.and(self.tls.defaults());
        }
        let _ = with_tls;
        defaults
    }

    /// Returns where to listen, and for how many connections: the options take precedence, then this value, then the
    /// defaults.
    pub fn place(&self, options: &ListenOptions) -> Place {
        options.place(&self.said, &self.listeners)
    }

    /// Checks the sockets that are bound already, before anything starts.
    ///
    /// # Errors
    ///
    /// Returns an error if one of them doesn't listen.
    pub fn check_listeners(&self) -> Result {
        Ok(self.listeners.iter().try_for_each(|listener| handed::check(listener))?)
    }

    /// Returns the minimum rate of clients for a server with this idle timeout: the options take precedence, then this
    /// value, then the defaults.
    pub fn pace(&self, options: &ListenOptions, idle: Option<Duration>) -> Pace {
        options.pace(&self.said, idle)
    }

    /// Returns the TLS settings: the options take precedence, then this value, then the defaults. None if neither names
    /// a certificate.
    ///
    /// # Errors
    ///
    /// Returns an error if a file is named without another that it needs.
    #[cfg(feature = "tls")]
    pub fn tls_settings(&self, options: &TlsOptions) -> Result<Option<TlsSettings>> {
        options.settings(&self.tls)
    }

    /// Checks the files of [`tls_settings`](Self::tls_settings) and the sockets, before anything starts.
    ///
    /// # Errors
    ///
    /// Returns what is wrong, with the file or socket concerned.
    #[cfg(feature = "tls")]
    pub fn check_tls(&self, options: &TlsOptions) -> Result {
        self.check_listeners()?;
        self.tls_settings(options)?.map_or(Ok(()), |settings| settings.files.check())
    }

    /// Checks the sockets, and that no TLS is asked for: for a server that was built without TLS in a program that has
    /// another server with it.
    ///
    /// # Errors
    ///
    /// Returns an error if this value asks for TLS, so that nothing is served in the clear by mistake, or if a socket
    /// doesn't listen.
    pub fn check_without_tls(&self) -> Result {
        self.check_listeners()?;
        #[cfg(feature = "tls")]
        if self.tls.tls_cert.is_some() || self.tls.tls_key.is_some() || self.tls.tls_client_ca.is_some() {
            return Err(interloop::Error::new("it is to speak TLS, but its crate was built without the feature `tls`"));
        }
        Ok(())
    }
}

/// Defines the short methods of a server that has a method `listen(self, impl Into<Listen>) -> Self`: one for each
/// option of [`ListenOptions`], by its name, and, if the server's crate has the feature `tls`, for those of TLS. It
/// must be called in an `impl` of the server where the name `Listen` is in scope.
#[macro_export]
macro_rules! listen_setters {
    () => {
        /// Listens on this address or host name, in addition to others that were named: short for
        /// [`listen`](Self::listen). `::` and `0.0.0.0` can be combined.
        #[must_use]
        pub fn host(self, host: impl ::std::convert::Into<::std::string::String>) -> Self {
            self.listen($crate::Listen::new().host(host))
        }

        /// Listens on this port, on all hosts; 0 picks one that is free on all of them: short for
        /// [`listen`](Self::listen).
        #[must_use]
        pub fn port(self, port: u16) -> Self {
            self.listen($crate::Listen::port(port))
        }

        /// Listens on the sockets that a service manager or a parent has passed with this name: short for
        /// [`listen`](Self::listen).
        #[must_use]
        pub fn inherited(self, name: impl ::std::convert::Into<::std::string::String>) -> Self {
            self.listen($crate::Listen::new().inherited(name))
        }

        /// Listens on a Unix socket; only there if neither a host nor a port is named: short for
        /// [`listen`](Self::listen). Unix only.
        #[cfg(unix)]
        #[must_use]
        pub fn unix(self, path: impl ::std::convert::Into<::std::path::PathBuf>) -> Self {
            self.listen($crate::Listen::new().unix(path))
        }

        /// Sets how many connections are served at once; further ones wait in the system's queue. 0, the default, is no
        /// limit. Short for [`listen`](Self::listen).
        #[must_use]
        pub fn max_connections(self, connections: usize) -> Self {
            self.listen($crate::Listen::new().max_connections(connections))
        }

        /// Serves over TLS, with the certificate in one PEM file and its private key in another: short for
        /// [`listen`](Self::listen).
        #[cfg(feature = "tls")]
        #[must_use]
        pub fn tls(
            self,
            cert: impl ::std::convert::Into<::std::path::PathBuf>,
            key: impl ::std::convert::Into<::std::path::PathBuf>,
        ) -> Self {
            self.listen($crate::Listen::new().tls(cert, key))
        }

        /// Sets the permissions of the Unix socket: `0o660` by default. Short for [`listen`](Self::listen).
        #[cfg(unix)]
        #[must_use]
        pub fn unix_mode(self, mode: u32) -> Self {
            self.listen($crate::Listen::new().unix_mode(mode))
        }

        /// Sets the group of the Unix socket, by name or number. Short for [`listen`](Self::listen).
        #[cfg(unix)]
        #[must_use]
        pub fn unix_group(self, group: impl ::std::convert::Into<::std::string::String>) -> Self {
            self.listen($crate::Listen::new().unix_group(group))
        }

        /// Sets the [minimum rate](Listen::min_rate), in bytes a second, at which a client must send and take: 500 by
        /// default; 0 asks only for some progress. Short for [`listen`](Self::listen).
        #[must_use]
        pub fn min_rate(self, bytes: usize) -> Self {
            self.listen($crate::Listen::new().min_rate(bytes))
        }

        /// Sets how far a client may fall behind the [minimum rate](Self::min_rate): 20 s by default, zero is no limit.
        /// Short for [`listen`](Self::listen).
        #[must_use]
        pub fn rate_grace(self, time: ::std::time::Duration) -> Self {
            self.listen($crate::Listen::new().rate_grace(time))
        }

        /// Sets the silence after which the system asks the client's system whether the client is still there: 60 s by
        /// default, in whole seconds, zero is never. Short for [`listen`](Self::listen).
        #[must_use]
        pub fn tcp_keepalive(self, time: ::std::time::Duration) -> Self {
            self.listen($crate::Listen::new().tcp_keepalive(time))
        }

        /// Serves only clients with a certificate from one of the CAs in this PEM file. Short for
        /// [`listen`](Self::listen).
        #[cfg(feature = "tls")]
        #[must_use]
        pub fn tls_client_ca(self, path: impl ::std::convert::Into<::std::path::PathBuf>) -> Self {
            self.listen($crate::Listen::new().tls_client_ca(path))
        }

        /// Sets how long a client may take for the TLS handshake: 10 s by default, zero is no limit. Short for
        /// [`listen`](Self::listen).
        #[cfg(feature = "tls")]
        #[must_use]
        pub fn tls_handshake_timeout(self, time: ::std::time::Duration) -> Self {
            self.listen($crate::Listen::new().tls_handshake_timeout(time))
        }

        /// Sets how many TLS handshakes run at once: 1000 by default, 0 is no limit. Short for
        /// [`listen`](Self::listen).
        #[cfg(feature = "tls")]
        #[must_use]
        pub fn tls_max_handshakes(self, handshakes: usize) -> Self {
            self.listen($crate::Listen::new().tls_max_handshakes(handshakes))
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_before_code_and_code_before_defaults() {
        let listen = Listen::port(80).unix_mode(0o600);
        let options = ListenOptions { port: Some(8000), unix: Some("/run/x".into()), ..ListenOptions::default() };
        let place = listen.place(&options);
        assert_eq!((place.port, place.connections), (8000, usize::MAX));
        assert_eq!(place.unix.map(|unix| (unix.mode, unix.group)), Some((0o600, None)));
    }

    #[test]
    fn sockets_that_are_bound_already_are_added_and_open_no_port_beside_them() {
        let bound = || TcpListener::bind("127.0.0.1:0").unwrap();
        let mut listen = Listen::from(bound());
        listen.merge(Listen::from(bound()).listener(bound()));
        let place = listen.place(&ListenOptions::default());
        assert_eq!((place.hosts.len(), place.listeners.len()), (0, 3));
        // Unless one is named.
        let place = listen.place(&ListenOptions { port: Some(81), ..ListenOptions::default() });
        assert_eq!((place.hosts.len(), place.port, place.listeners.len()), (1, 81, 3));
    }

    #[test]
    fn what_is_said_later_goes_before_and_hosts_are_added() {
        let mut listen = Listen::port(80).host("a").max_connections(1).tcp_keepalive(Duration::ZERO);
        listen.merge(Listen::port(81).host("b").unix("/run/x"));
        let place = listen.place(&ListenOptions::default());
        assert_eq!((place.port, place.connections, place.keep_alive), (81, 1, None));
        assert_eq!(place.hosts, ["a", "b"]);
        assert!(place.unix.is_some());
    }

    /// A server that only this test uses.
    struct Server(Listen);

    #[allow(unreachable_pub, reason = "the methods of a server are public")]
    impl Server {
        fn listen(mut self, listen: Listen) -> Self {
            self.0.merge(listen);
            self
        }

        crate::listen_setters!();
    }

    #[test]
    fn the_short_ways_of_a_server_say_the_same() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let server = Server(Listen::new()).port(1).host("a").unix("/x").unix_mode(2).unix_group("g").max_connections(3);
        let server = server.inherited("i").min_rate(4).rate_grace(second).tcp_keepalive(minute);
        let listen = Listen::port(1).host("a").unix("/x").unix_mode(2).unix_group("g").max_connections(3);
        let listen = listen.inherited("i").min_rate(4).rate_grace(second).tcp_keepalive(minute);
        #[cfg(feature = "tls")]
        let (server, listen) = (
            server.tls("/c", "/k").tls_client_ca("/ca").tls_handshake_timeout(second).tls_max_handshakes(5),
            listen.tls("/c", "/k").tls_client_ca("/ca").tls_handshake_timeout(second).tls_max_handshakes(5),
        );
        let said = format!("{:?}", server.0);
        assert_eq!(said, format!("{listen:?}"));
        // No value was left out.
        assert!(!said.contains("None"), "{said}");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn tls_is_merged_too_and_refused_where_there_is_none() {
        let mut listen = Listen::new().tls("/c.pem", "/k.pem").tls_max_handshakes(7);
        listen.merge(Listen::new().tls("/d.pem", "/l.pem").tls_handshake_timeout(Duration::ZERO));
        let settings = listen.tls_settings(&TlsOptions::default()).unwrap().expect("there is a certificate");
        assert_eq!((settings.max_handshakes, settings.handshake_timeout), (7, None));
        assert!(Listen::port(80).check_without_tls().is_ok());
        let why = listen.check_without_tls().unwrap_err().to_string();
        assert_eq!(why, "it is to speak TLS, but its crate was built without the feature `tls`");
    }
}
