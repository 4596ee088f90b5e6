#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod base;
mod fb_status;

pub use crate::{
    base::{Base, Refused},
    fb_status::FbStatus,
};
