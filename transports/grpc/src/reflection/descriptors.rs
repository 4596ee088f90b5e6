//! The part of `google/protobuf/descriptor.proto` that tells which names a file declares.
//!
//! The files themselves stay bytes, as they came, so custom options are preserved.

use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct FileSet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(super) files: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct File {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) package: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) imports: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    pub(super) messages: Vec<Struct>,
    #[prost(message, repeated, tag = "5")]
    pub(super) enums: Vec<Parts>,
    #[prost(message, repeated, tag = "6")]
    pub(super) services: Vec<Parts>,
    #[prost(message, repeated, tag = "7")]
    pub(super) extensions: Vec<Field>,
}

/// A message.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Struct {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) fields: Vec<Field>,
    #[prost(message, repeated, tag = "3")]
    pub(super) messages: Vec<Struct>,
    #[prost(message, repeated, tag = "4")]
    pub(super) enums: Vec<Parts>,
    #[prost(message, repeated, tag = "6")]
    pub(super) extensions: Vec<Field>,
    #[prost(message, repeated, tag = "8")]
    pub(super) oneofs: Vec<Part>,
}

/// A field or an extension; for the latter, `extendee` names the extended message.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Field {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) extendee: String,
    #[prost(int32, tag = "3")]
    pub(super) number: i32,
}

/// An enum with its values, or a service with its methods.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Parts {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Part {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}
