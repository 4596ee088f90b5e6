//! The checks that every loop must pass, by both runtimes.

use std::time::Duration;

use interloop_conformance::Fire;
use interloop_tokio::Tokio;
use tokio::{runtime::Handle, task::spawn_local, time::sleep};

fn set_timer(_: &Handle, time: Duration, fire: Fire) {
    spawn_local(async move {
        sleep(time).await;
        fire();
    });
}

mod current_thread {
    use super::{Tokio, set_timer};

    interloop_conformance::conformance!(Tokio::default(), native_timer: set_timer);
}

mod workers {
    use super::{Tokio, set_timer};

    interloop_conformance::conformance!(Tokio::default().worker_threads(2), native_timer: set_timer);
}

mod workers_of_a_builder {
    use super::{Tokio, set_timer};
    use tokio::runtime::Builder;

    fn plan() -> Tokio {
        Tokio::from_builder(|| {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(2);
            builder
        })
    }

    interloop_conformance::conformance!(plan(), native_timer: set_timer);
}

mod current_thread_of_a_builder {
    use super::{Tokio, set_timer};
    use tokio::runtime::Builder;

    interloop_conformance::conformance!(Tokio::from_builder(Builder::new_current_thread), native_timer: set_timer);
}

mod runtime_that_is_there {
    use std::sync::LazyLock;

    use super::{Tokio, set_timer};
    use tokio::runtime::{Builder, Runtime};

    fn plan() -> Tokio {
        static RUNTIME: LazyLock<Runtime> =
            LazyLock::new(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
        Tokio::from_handle(RUNTIME.handle().clone())
    }

    interloop_conformance::conformance!(plan(), native_timer: set_timer);
}

mod current_thread_that_is_there {
    use std::{future::pending, sync::LazyLock, thread};

    use super::{Handle, Tokio, set_timer};
    use tokio::runtime::Builder;

    fn plan() -> Tokio {
        static RUNTIME: LazyLock<Handle> = LazyLock::new(|| {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let handle = runtime.handle().clone();
            thread::spawn(move || runtime.block_on(pending::<()>()));
            handle
        });
        Tokio::from_handle(RUNTIME.clone())
    }

    interloop_conformance::conformance!(plan(), native_timer: set_timer);
}
