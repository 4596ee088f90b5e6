//! What was still going on when a server was cancelled: what its stop had waited for.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{activity::Activity, hosted::Peer};

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

impl CutOff {
    fn note(&self, activity: &Activity) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = if activity.is_given_away() {
            &mut counts.upgraded
        } else if activity.is_between_requests() {
            &mut counts.others
        } else {
            &mut counts.requests
        };
        *count += 1;
        counts.first.get_or_insert(activity.peer);
    }

    /// One line for all, if there were any.
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

/// An open connection: noted if it doesn't get to its end.
pub(crate) struct Open(Option<Arc<Activity>>);

impl Open {
    pub(crate) fn new(activity: Arc<Activity>) -> Self {
        Self(Some(activity))
    }

    pub(crate) fn has_ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(activity) = self.0.take() {
            activity.server.cut_off.note(&activity);
        }
    }
}
