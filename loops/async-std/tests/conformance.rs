//! What every loop has to pass.

use interloop_async_std::AsyncStd;

interloop_conformance::base!(AsyncStd::default());
interloop_conformance::net!(AsyncStd::default());
