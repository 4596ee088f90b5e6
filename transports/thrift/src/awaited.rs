//! Tracks which answer a client waits for, to detect answers that nobody asked for.

use crate::{
    walk::{self, Kind, Protocol},
    wire,
};

/// The calls of a client on a connection. Some servers answer oneway calls too, and the next caller would take such an
/// answer for its own.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    /// The method of the last call that wants an answer.
    method: String,
    /// The number of oneway calls since then.
    oneways: usize,
}

impl Awaited {
    /// Notes that this call is sent.
    pub(crate) fn sent(&mut self, protocol: Protocol, call: &[u8]) {
        match walk::header(protocol, call) {
            Some(header) if header.kind == Kind::Oneway => self.oneways = self.oneways.saturating_add(1),
            Some(header) => {
                self.method = wire::method(&String::from_utf8_lossy(&call[header.name])).to_owned();
            }
            None => {}
        }
    }

    /// Returns whether an answer for this method answers a oneway call. Answers come in order: none comes after the one
    /// that is waited for.
    pub(crate) fn is_stray(&mut self, method: &str) -> bool {
        if method != self.method && self.oneways > 0 {
            self.oneways -= 1;
            return true;
        }
        self.oneways = 0;
        false
    }
}

#[cfg(test)]
mod tests {
    use thrift::protocol::{TMessageIdentifier, TMessageType};

    use super::*;

    fn call(protocol: Protocol, name: &str, kind: TMessageType) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut to = wire::output(protocol, &mut bytes);
        to.write_message_begin(&TMessageIdentifier::new(name, kind, 1)).expect("memory takes all");
        drop(to);
        bytes
    }

    #[test]
    fn answers_to_oneway_calls_are_strays_and_no_more_than_were_called() {
        for protocol in [Protocol::Binary, Protocol::Compact] {
            let mut awaited = Awaited::default();
            let sent = |awaited: &mut Awaited, name, kind| awaited.sent(protocol, &call(protocol, name, kind));
            sent(&mut awaited, "Sums:note", TMessageType::OneWay);
            sent(&mut awaited, "note", TMessageType::OneWay);
            sent(&mut awaited, "Sums:ping", TMessageType::Call);
            assert_eq!(["note", "note", "ping"].map(|name| awaited.is_stray(name)), [true, true, false]);
            sent(&mut awaited, "note", TMessageType::OneWay);
            sent(&mut awaited, "ping", TMessageType::Call);
            // The server has not answered it: what comes next is wrong in its own right.
            assert_eq!(["ping", "note"].map(|name| awaited.is_stray(name)), [false, false]);
        }
    }
}
