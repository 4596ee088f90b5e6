//! What every loop has to pass.

use interloop_calloop::Calloop;

interloop_conformance::base!(Calloop::default());
interloop_conformance::net!(Calloop::default());
