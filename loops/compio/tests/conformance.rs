//! What every loop has to pass, by both drivers.

use interloop_compio::Compio;

mod io_uring {
    use super::Compio;

    interloop_conformance::base!(Compio::default());
    interloop_conformance::net!(Compio::default());
}

mod poll {
    use super::Compio;

    interloop_conformance::base!(Compio::default(), "driver" = "poll");
    interloop_conformance::net!(Compio::default(), "driver" = "poll");
}
