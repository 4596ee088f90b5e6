//! Interloop inside of a program whose main is tokio's.

use interloop_loop_tests::{foreign, watchdog};

#[test]
fn a_service_lives_inside_of_a_main_of_the_multi_thread_runtime() {
    #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
    async fn main() {
        foreign::a_service_inside(tokio::task::yield_now).await;
    }

    let _watchdog = watchdog();
    main();
}

#[test]
fn a_service_lives_inside_of_a_main_of_the_current_thread_runtime() {
    #[tokio::main(flavor = "current_thread")]
    async fn main() {
        foreign::a_service_inside(tokio::task::yield_now).await;
    }

    let _watchdog = watchdog();
    main();
}
