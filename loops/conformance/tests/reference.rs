//! The reference loop, which the core brings itself.

interloop_conformance::base!(interloop::Thread);
interloop_conformance::net!(interloop::Thread);
