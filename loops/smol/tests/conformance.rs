//! What every loop has to pass, with one thread and with workers.

use interloop_smol::Smol;

mod alone {
    use super::Smol;

    interloop_conformance::base!(Smol::default());
    interloop_conformance::net!(Smol::default());
}

mod workers {
    use super::Smol;

    interloop_conformance::base!(Smol::default(), "worker-threads" = 2);
    interloop_conformance::net!(Smol::default(), "worker-threads" = 2);
}
