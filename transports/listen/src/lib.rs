#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod addresses;
mod ends;
mod handed;
mod listen;
mod names;
mod options;
mod pace;
mod parse;
mod permits;
mod sockets;
#[cfg(feature = "tls")]
mod tls;

pub use crate::{
    accept::{QUEUED, Rests, Spare, is_of_one_client, poll_in_turn},
    addresses::{Addresses, Announced},
    ends::{End, Ends, EndsHandle, Watched},
    listen::Listen,
    names::machine_names,
    options::{ListenOptions, Place, unless_zero},
    pace::{FAREWELL, LAST_ROOM, Pace, Wait, last_call},
    parse::{mode, size},
    permits::{Permit, Permits},
    sockets::bind,
};

#[cfg(unix)]
pub use crate::sockets::UnixPlace;
#[cfg(feature = "tls")]
pub use crate::tls::{HandshakeError, Tls, TlsAcceptor, TlsConnector, TlsFiles, TlsOptions, TlsSettings, TlsStream};
