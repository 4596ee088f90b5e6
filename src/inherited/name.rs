//! How an option names a descriptor.

use std::{fmt, str::FromStr};

/// The name of an inherited listening socket: the type of an option that says where a server listens.
///
/// | text | means |
/// |---|---|
/// | `fd:http` | all sockets that were passed with this name |
/// | `systemd:http` | the same, for names that look like a number too |
/// | `fd:0`, `fd:7` | the descriptor with this number |
///
/// A task with an option of this type is a server: it may be given inherited sockets, and
/// [`Context::inherited`](crate::Context::inherited) returns them. The section
/// [Inherited sockets](crate::net#inherited-sockets) says which ones. The servers of Interloop's transports have such
/// an option, `--{task}-listen`.
///
/// ```
/// use interloop::{Context, NoOptions, Result, Task, clap, net::{Accept, Inherited, Net}};
///
/// #[derive(clap::Args)]
/// struct EchoOptions {
///     /// Listen on sockets that were passed to the process: fd:NAME, systemd:NAME or fd:NUMBER
///     #[arg(long, value_name = "fd:NAME", value_delimiter = ',')]
///     listen: Vec<Inherited>,
/// }
///
/// struct Echo;
///
/// impl<L: Net> Task<L> for Echo {
///     type Options = EchoOptions;
///
///     async fn run(&mut self, cx: Context<L, EchoOptions>) -> Result {
///         for socket in cx.inherited()? {
///             let listener = cx.listen(socket)?;
///             cx.bound(listener.address().clone());
///             # drop(listener);
///             // accept ..
///         }
///         Ok(cx.until_shutdown().await)
///     }
/// }
/// # fn is_task<T: Task<interloop::Thread>>(_: T) {}
/// # is_task(Echo);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inherited(pub(super) Wanted);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    Name(String),
    Number(i32),
}

impl Inherited {
    /// Returns the sockets that were passed with this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self(Wanted::Name(name.into()))
    }

    /// Returns the descriptor with this number.
    pub fn number(number: u16) -> Self {
        Self(Wanted::Number(number.into()))
    }
}

impl fmt::Display for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Wanted::Name(name) if is_number(name) => write!(f, "systemd:{name}"),
            Wanted::Name(name) => write!(f, "fd:{name}"),
            Wanted::Number(number) => write!(f, "fd:{number}"),
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl FromStr for Inherited {
    type Err = ParseInheritedError;

    fn from_str(text: &str) -> Result<Self, ParseInheritedError> {
        let refused = || ParseInheritedError(text.to_owned());
        let (kind, name) = text.split_once(':').ok_or_else(refused)?;
        // systemd allows neither in a name.
        if name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) {
            return Err(refused());
        }
        match kind {
            // Names are checked when they are looked up, numbers here: no descriptor is larger.
            "fd" if is_number(name) => name.parse::<u16>().map(Self::number).map_err(|_| refused()),
            "fd" | "systemd" => Ok(Self::named(name)),
            _ => Err(refused()),
        }
    }
}

/// The error of a text that is no [`Inherited`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseInheritedError(String);

impl fmt::Display for ParseInheritedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no name of an inherited socket: {:?}; it must be fd:NAME, systemd:NAME or fd:NUMBER", self.0)
    }
}

impl std::error::Error for ParseInheritedError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for text in ["fd:http", "fd:hello.socket", "fd:0", "fd:65535", "systemd:7"] {
            assert_eq!(text.parse::<Inherited>().unwrap().to_string(), text);
        }
        assert_eq!("systemd:http".parse::<Inherited>().unwrap(), Inherited::named("http"));
        assert_eq!("fd:7".parse::<Inherited>().unwrap(), Inherited::number(7));
        assert_ne!("systemd:7".parse::<Inherited>().unwrap(), Inherited::number(7));
        for text in ["", "fd", "fd:", "systemd:", "http", "unix:/x", "fd:a:b", "fd:a\nb", "fd:65536", "FD:3"] {
            let why =
                format!("no name of an inherited socket: {text:?}; it must be fd:NAME, systemd:NAME or fd:NUMBER");
            assert_eq!(text.parse::<Inherited>().unwrap_err().to_string(), why);
        }
    }
}
