//! A loop that stalls, as the watch tells of it.

/// Timed, so alone on the machine.
mod quiet {
    use interloop_glib::Glib;
    use interloop_loop_tests::{stalls, watchdog};
    use interloop_own_process::own_process;

    #[test]
    fn what_sleeps_spins_locks_and_reads_is_named_with_its_stack_and_goes_on() {
        own_process(|| {
            let _watchdog = watchdog();
            stalls::every_culprit_is_named_on::<Glib>();
        });
    }
}

#[inline(never)]
fn the_culprit_iterates(told: &interloop_loop_tests::stalls::Told) {
    let main_loop = glib::MainLoop::new(None, false);
    let (quits, told) = (main_loop.clone(), told.clone());
    glib::timeout_add_local(std::time::Duration::from_millis(20), move || {
        if told.load(std::sync::atomic::Ordering::Relaxed) {
            quits.quit();
            return glib::ControlFlow::Break;
        }
        glib::ControlFlow::Continue
    });
    main_loop.run();
}

#[test]
fn a_main_loop_within_a_task_is_told_as_such() {
    interloop_own_process::own_process(|| {
        let _watchdog = interloop_loop_tests::watchdog();
        use interloop_loop_tests::stalls;
        let (line, _) = stalls::told::<interloop_glib::Glib>(|told| the_culprit_iterates(&told));
        assert!(line.contains("; it is in a nested main loop; its stack: "), "{line}");
        assert!(line.contains("g_main_loop_run") && line.contains("the_culprit_iterates <- "), "{line}");
        let (line, _) = stalls::told::<interloop_glib::Glib>(|_| std::thread::sleep(std::time::Duration::from_secs(2)));
        assert!(!line.contains("a nested main loop"), "{line}");
    });
}
