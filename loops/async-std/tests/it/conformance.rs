//! The checks that every loop must pass.

use interloop_async_std::{AsyncStd, async_std::task};

interloop_conformance::conformance!(AsyncStd::default(), native_timer: |(), time, fire| {
    task::spawn(async move {
        task::sleep(time).await;
        fire();
    });
});
