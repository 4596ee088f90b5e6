//! A loop that stalls, as the watch tells of it.

/// Timed, so alone on the machine.
mod quiet {
    use interloop_loop_tests::{stalls, watchdog};
    use interloop_own_process::own_process;
    use interloop_tokio::Tokio;

    #[test]
    fn what_sleeps_spins_locks_and_reads_is_named_with_its_stack_and_goes_on() {
        own_process(|| {
            let _watchdog = watchdog();
            stalls::every_culprit_is_named_on::<Tokio>();
        });
    }
}
