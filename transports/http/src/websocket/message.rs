//! The messages of a WebSocket.

use bytes::Bytes;

/// A message of a [`WebSocket`](crate::WebSocket).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

/// Why a WebSocket was closed, as one side told the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code: 1000 is a normal end, 1001 going away.
    pub code: u16,
    /// The reason, in words.
    pub reason: String,
}
