//! What every loop has to pass.

use interloop_tokio::Tokio;

interloop_conformance::net!(Tokio::default());
