//! What every loop has to pass.

use interloop_mio::Mio;

interloop_conformance::base!(Mio::default());
interloop_conformance::net!(Mio::default());
