//! What every loop has to pass, by both runtimes.

use interloop_tokio::Tokio;

mod current_thread {
    use super::Tokio;

    interloop_conformance::base!(Tokio::default());
    interloop_conformance::net!(Tokio::default());
}

mod workers {
    use super::Tokio;

    interloop_conformance::base!(Tokio::default(), "worker-threads" = 2);
    interloop_conformance::net!(Tokio::default(), "worker-threads" = 2);
}
