//! Records what was still going on when a server was cancelled, and so what its stop waited for.

use std::sync::{Mutex, PoisonError};

use crate::peer::Peer;

/// Connections that were open when their server was cancelled.
#[derive(Default)]
pub(crate) struct CutOff(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    requests: usize,
    upgraded: usize,
    others: usize,
    first: Option<Peer>,
}

/// What a connection was doing when it was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    WithRequest,
    Upgraded,
    WithoutRequest,
}

impl CutOff {
    pub(crate) fn note(&self, kind: Kind, peer: Peer) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *match kind {
            Kind::WithRequest => &mut counts.requests,
            Kind::Upgraded => &mut counts.upgraded,
            Kind::WithoutRequest => &mut counts.others,
        } += 1;
        counts.first.get_or_insert(peer);
    }

    /// Logs one line for all of them, if there were any.
    pub(crate) fn tell(&mut self, target: &str) {
        let counts = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = counts.first else { return };
        let kinds =
            [(counts.requests, "with a request"), (counts.upgraded, "upgraded"), (counts.others, "without a request")];
        let kinds = kinds.into_iter().filter(|(count, _)| *count > 0);
        let kinds = kinds.map(|(count, kind)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ");
        log::warn!(target: target, "the stop cut off connections that were still open: {kinds}; the first from {first}");
    }
}
