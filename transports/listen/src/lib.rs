#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod accept;
mod addresses;
mod parse;
mod seats;
mod sockets;

pub use crate::{
    accept::is_of_one_client,
    addresses::Addresses,
    parse::{mode, size},
    seats::{Seat, Seats},
    sockets::{UnixPlace, bind},
};
