//! The options of a server.

use std::{path::PathBuf, time::Duration};

use interloop::{clap, duration};

/// The options of an [`HttpServer`](crate::HttpServer), each with the task's name before it: `--http-port`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct HttpOptions {
    /// Listen on these addresses or host names; 127.0.0.1, unless there is a Unix socket
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub(crate) host: Vec<String>,

    /// Listen on this port; 0, the default, is any free one
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// Listen on this Unix socket
    #[arg(long, value_name = "PATH")]
    pub(crate) unix: Option<PathBuf>,

    /// The Unix socket's permissions, octal; 0660 by default
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub(crate) unix_mode: Option<u32>,

    /// The Unix socket's group, by name or number
    #[arg(long, value_name = "GROUP")]
    pub(crate) unix_group: Option<String>,

    /// Serve so many connections at once, others wait; 0, the default, is any number
    #[arg(long, value_name = "N")]
    pub(crate) max_connections: Option<usize>,

    /// Refuse requests whose head is longer, with 431; 64KiB by default, 8KiB at least
    #[arg(long, value_name = "SIZE", value_parser = header_size)]
    pub(crate) max_header_size: Option<usize>,

    /// Refuse requests whose body is longer, with 413; 2MiB by default
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_body_size: Option<usize>,

    /// Close connections that stand idle between two requests, or in a request's body, for so long; 60s by default, 0 is
    /// never
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,

    /// Close connections that take longer to send a request's head; 15s by default, 0 is never
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) header_timeout: Option<Duration>,
}

/// Hyper's read buffer is at least as large.
pub(crate) const LEAST_HEADER_SIZE: usize = 8 << 10;

/// `0660`.
fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("expected permissions such as 0660".to_owned()),
    }
}

/// `64KiB`, `2M`, `1000`.
fn size(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err("expected a size such as 1000, 64KiB or 2MiB".to_owned()),
    };
    let number = number.parse::<usize>().map_err(|_| "expected a size such as 1000, 64KiB or 2MiB".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is too large".to_owned())
}

fn header_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        size if size < LEAST_HEADER_SIZE => Err("it must be 8KiB at least".to_owned()),
        size if u32::try_from(size).is_err() => Err("that is too large".to_owned()),
        size => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_sound() {
        <HttpOptions as clap::Args>::augment_args(clap::Command::new("http")).debug_assert();
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(size("1000"), Ok(1000));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("2 M"), Ok(2 << 20));
        for wrong in ["", "KiB", "1.5M", "-1", "1TiB", "99999999999999999999", "99999999999999G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert!(header_size("8191").is_err());
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode("0660"), Ok(0o660));
        assert_eq!(mode("600"), Ok(0o600));
        assert!(mode("0680").is_err() && mode("1777").is_err());
    }
}
