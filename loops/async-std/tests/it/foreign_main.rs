//! Interloop inside of a program whose main is async-std's.

use async_std::task;
use interloop_loop_tests::{foreign, watchdog};

#[test]
fn a_service_lives_inside_of_a_main_of_async_std() {
    #[async_std::main]
    async fn main() {
        foreign::a_service_inside(task::yield_now).await;
    }

    let _watchdog = watchdog();
    main();
}
