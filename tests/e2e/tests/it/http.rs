//! HTTP is the same on every loop: runs the conformance kit's HTTP checks on all of them.

mod thread {
    interloop_conformance::http!(interloop::Thread);
}

mod tokio {
    interloop_conformance::http!(interloop_tokio::Tokio::default());
}

mod tokio_workers {
    interloop_conformance::http!(interloop_tokio::Tokio::default(), "worker-threads" = 2);
}

mod glib_default_context {
    interloop_conformance::http!(interloop_glib::Glib::default());
}

mod glib_private_context {
    interloop_conformance::http!(interloop_glib::Glib::private());
}

mod mio {
    interloop_conformance::http!(interloop_mio::Mio::default());
}

mod calloop {
    interloop_conformance::http!(interloop_calloop::Calloop::default());
}

mod smol {
    interloop_conformance::http!(interloop_smol::Smol::default());
}

mod smol_workers {
    interloop_conformance::http!(interloop_smol::Smol::default(), "worker-threads" = 2);
}

mod async_std {
    interloop_conformance::http!(interloop_async_std::AsyncStd::default());
}

mod compio_io_uring {
    interloop_conformance::http!(interloop_compio::Compio::default());
}

mod compio_poll {
    interloop_conformance::http!(interloop_compio::Compio::default(), "driver" = "poll");
}
