//! The checks that every loop must pass.

use interloop_own_process::own_process;

mod default_context {
    use interloop_glib::Glib;

    interloop_conformance::conformance!(Glib::default(), native_timer: |_, time, fire| {
        glib::timeout_add_local_once(time, fire);
    });
}

mod private_context {
    use interloop_glib::Glib;

    interloop_conformance::conformance!(Glib::private(), native_timer: |context, time, fire| {
        context.spawn_local(async move {
            glib::timeout_future(time).await;
            fire();
        });
    });
}

/// Checks that a service whose tasks run on glib alone, with their sockets, has the supervisor's thread and the loop's,
/// and none of a runtime.
#[test]
fn sockets_on_glib_take_no_further_thread() {
    own_process(|| {
        use interloop::{
            Context,
            net::{Accept, Bound},
        };
        use interloop_conformance::Subject;
        use interloop_glib::Glib;

        fn threads() -> Vec<String> {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
            let mut names: Vec<_> = names.map(|name| name.trim().to_owned()).collect();
            names.sort();
            names
        }

        let before = threads();
        let mut during = interloop_conformance::on_loop(&Subject::new(Glib::private()), async |cx: Context<Glib>| {
            let bound = Bound::tcp(([127, 0, 0, 1], 0).into()).unwrap();
            let mut listener = cx.listen(bound).unwrap();
            let address = listener.address().clone();
            let client = cx.spawn_local(cx.connect(address));
            let _server = listener.accept().await.unwrap();
            let _client = client.await.unwrap().unwrap();
            cx.sleep(std::time::Duration::from_millis(1)).await;
            threads()
        });
        for name in &before {
            let known = during.iter().position(|other| other == name).expect("this thread is there all the time");
            during.remove(known);
        }
        // The check has a watchdog of its own.
        during.retain(|name| name != "watchdog");
        assert_eq!(during, ["glib", "outside", "supervisor"]);
    });
}
