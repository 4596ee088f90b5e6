//! Checks which host a request is for, where the answer reveals details of the service.
//!
//! A page of another site can have its own name point to this address, and then read answers as if they were its own
//! (DNS rebinding). But it can't send a request for an address, or for a name that isn't its own.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use http::{Request, header};
use interloop_listen::machine_names;

use crate::peer::Peer;

/// The hosts that are answered, besides addresses and localhost.
#[derive(Debug)]
pub(crate) struct Hosts(Vec<Pattern>);

/// A host that is allowed by name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    Name(String),
    /// All names with this suffix: `.example.org`.
    Below(String),
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is for no possible host, or for two.
    Malformed,
    Unknown(String),
}

#[derive(Debug, PartialEq, Eq)]
enum Host {
    Address,
    /// In lower case, without a final dot.
    Name(String),
}

impl Hosts {
    /// Allows these and the machine's own names.
    pub(crate) fn new<'a>(allowed: impl IntoIterator<Item = &'a str>) -> Self {
        let mut patterns: Vec<_> = allowed.into_iter().filter_map(pattern).collect();
        patterns.extend(machine_names().into_iter().map(Pattern::Name));
        Self(patterns)
    }

    /// Checks that every host that the request names is allowed; it may name none.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        if request.extensions().get::<Peer>().is_some_and(|peer| peer.address().is_none()) {
            // A browser can't reach a Unix socket.
            return Ok(());
        }
        let mut fields = request.headers().get_all(header::HOST).iter();
        let field = fields.next().map(|field| field.to_str().map_err(|_| Refused::Malformed)).transpose()?;
        if fields.next().is_some() {
            return Err(Refused::Malformed);
        }
        let target = request.uri().authority().map(http::uri::Authority::as_str);
        for authority in [target, field].into_iter().flatten().filter(|authority| !authority.is_empty()) {
            match host_of(authority).ok_or(Refused::Malformed)? {
                Host::Name(name) if !self.allows(&name) => return Err(Refused::Unknown(name)),
                Host::Name(_) | Host::Address => {}
            }
        }
        Ok(())
    }

    fn allows(&self, name: &str) -> bool {
        name == "localhost"
            || name.ends_with(".localhost")
            || self.0.iter().any(|pattern| match pattern {
                Pattern::Any => true,
                Pattern::Name(known) => known == name,
                Pattern::Below(end) => name.ends_with(end.as_str()),
            })
    }
}

/// Parses a host to allow: a host name, `*.example.org`, or `*`.
pub(crate) fn allowed_host(text: &str) -> Result<String, String> {
    match pattern(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("expected a host name, *.example.org or *".to_owned()),
    }
}

fn pattern(text: &str) -> Option<Pattern> {
    if text == "*" {
        return Some(Pattern::Any);
    }
    let (below, host) = match text.strip_prefix("*.") {
        Some(host) => (true, host),
        None => (false, text),
    };
    match (host_of(host)?, below) {
        (Host::Name(name), true) => Some(Pattern::Below(format!(".{name}"))),
        (Host::Name(name), false) => Some(Pattern::Name(name)),
        (Host::Address, true) => None,
        // Allowed anyway.
        (Host::Address, false) => Some(Pattern::Name(host.to_owned())),
    }
}

/// Returns the host of `host:port`; None if the text is no such thing.
fn host_of(authority: &str) -> Option<Host> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        // A link-local address names its interface: `[fe80::1%25eth0]`.
        let address = address.split('%').next()?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return (is_port && address.parse::<Ipv6Addr>().is_ok()).then_some(Host::Address);
    }
    if authority.parse::<Ipv6Addr>().is_ok() {
        return Some(Host::Address);
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let host = host.strip_suffix('.').unwrap_or(host);
    // Strictly, host names have no underscores; names of containers do.
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if !is_port(port) || host.len() > 253 || !host.split('.').all(is_label) {
        return None;
    }
    if host.parse::<Ipv4Addr>().is_ok() {
        return Some(Host::Address);
    }
    Some(Host::Name(host.to_ascii_lowercase()))
}

fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the request is for no host, or for two"),
            Self::Unknown(name) => write!(f, "this service does not answer for the host {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(allowed: &[&str], authority: &str) -> Result<(), Refused> {
        let request = Request::get("/status").header("host", authority).body(()).expect("a header can hold that");
        Hosts::new(allowed.iter().copied()).check(&request)
    }

    fn unknown(name: &str) -> Result<(), Refused> {
        Err(Refused::Unknown(name.to_owned()))
    }

    #[test]
    fn addresses_localhost_and_the_machine_are_answered() {
        let machine = machine_names();
        let own = machine.iter().map(String::as_str);
        let fixed = [
            "127.0.0.1",
            "10.1.2.3:8001",
            "0.0.0.0:1",
            "127.0.0.1.",
            "[::1]",
            "[::1]:8001",
            "[fe80::1%25eth0]:80",
            "[fe80::1%eth0]",
            "::1",
            "localhost",
            "LocalHost:8001",
            "localhost.",
            "localhost.:80",
            "localhost:",
            "app.localhost",
            "",
        ];
        for host in fixed.into_iter().chain(own) {
            assert_eq!(asked(&[], host), Ok(()), "{host}");
        }
    }

    #[test]
    fn other_names_are_refused() {
        for (host, name) in [
            ("evil.example", "evil.example"),
            ("EVIL.example.:8001", "evil.example"),
            ("localhost.evil.example", "localhost.evil.example"),
            ("notlocalhost", "notlocalhost"),
            ("127.0.0.1.evil.example", "127.0.0.1.evil.example"),
            ("127.0.0.1.nip.io", "127.0.0.1.nip.io"),
            ("2130706433", "2130706433"),
            ("my_app", "my_app"),
        ] {
            assert_eq!(asked(&[], host), unknown(name));
        }
        for host in [
            "evil example",
            "user@localhost",
            "localhost:80:80",
            "localhost:http",
            "localhost:123456",
            "[::1",
            "[::1]x",
            "[localhost]",
            "[]",
            ".",
            "..",
            "localhost..",
            "a..b",
            ":80",
            "localhost/",
            "http://localhost",
            "localhost,evil.example",
            "*",
            "\t",
            "::1]",
            "localhost%00",
        ] {
            assert_eq!(asked(&["*"], host), Err(Refused::Malformed), "{host}");
        }
    }

    #[test]
    fn names_can_be_allowed() {
        let allowed = ["Metrics.example.org", "*.internal", "my_app:8001"];
        for host in ["metrics.EXAMPLE.org:80", "a.internal", "a.b.internal.", "my_app:8001", "my_app"] {
            assert_eq!(asked(&allowed, host), Ok(()), "{host}");
        }
        for host in ["internal", "x.metrics.example.org", "evilinternal"] {
            assert_eq!(asked(&allowed, host), unknown(host));
        }
        assert_eq!(asked(&["*"], "evil.example"), Ok(()));
        for wrong in ["", "a b", "**", "*example.org", "*.", "*.127.0.0.1", "http://x", "a/b"] {
            assert!(allowed_host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_host_that_a_request_names_counts() {
        let hosts = Hosts::new([]);
        let check = |uri: &str, fields: &[&str]| {
            let mut request = Request::get(uri);
            for field in fields {
                request = request.header("host", *field);
            }
            hosts.check(&request.body(()).expect("it is a request"))
        };
        assert_eq!(check("/status", &[]), Ok(()));
        assert_eq!(check("http://localhost:1/status", &[]), Ok(()));
        assert_eq!(check("http://evil.example/status", &[]), unknown("evil.example"));
        assert_eq!(check("http://evil.example/status", &["localhost"]), unknown("evil.example"));
        assert_eq!(check("http://localhost/status", &["evil.example"]), unknown("evil.example"));
        assert_eq!(check("/status", &["localhost", "localhost"]), Err(Refused::Malformed));
        assert_eq!(check("/status", &["localhost", "evil.example"]), Err(Refused::Malformed));
    }
}
