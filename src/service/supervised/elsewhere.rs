//! Without the feature, and on systems other than Linux, no manager is told anything.

use crate::service::{builder::Service, prepare::Prepared};

pub(in crate::service) struct ReadyFd;

impl ReadyFd {
    pub(in crate::service) fn claim(_: &Service) -> Self {
        Self
    }
}

pub(in crate::service) struct Supervised;

impl Supervised {
    #[expect(clippy::unnecessary_wraps, reason = "it can fail on Linux")]
    pub(in crate::service) fn begin(_: ReadyFd, _: &Prepared) -> Result<Self, String> {
        Ok(Self)
    }
}
