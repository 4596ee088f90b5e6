//! What every loop has to pass.

mod private {
    interloop_conformance::net!(interloop_glib::Glib::private());
}

mod default {
    //! One after the other: there is one default context.
    use std::sync::{Mutex, PoisonError};

    static CONTEXT: Mutex<()> = Mutex::new(());

    #[test]
    fn a_stream_of_tcp_carries_every_byte_both_ways() {
        let _context = CONTEXT.lock().unwrap_or_else(PoisonError::into_inner);
        interloop_conformance::net::a_stream_of_tcp_carries_every_byte_both_ways(interloop_glib::Glib::default());
    }
}

/// A service whose tasks run on glib alone, sockets and all, has the supervisor's thread and the loop's, and no runtime's.
#[test]
fn sockets_on_glib_take_no_further_thread() {
    use interloop::{Context, net::Accept, net::Bound};
    use interloop_glib::Glib;

    fn threads() -> Vec<String> {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        let mut names: Vec<_> = names.map(|name| name.trim().to_owned()).collect();
        names.sort();
        names
    }

    let before = threads();
    let mut during = interloop_conformance::on_loop(Glib::private(), async |cx: Context<Glib>| {
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
    assert_eq!(during, ["checked", "supervisor"]);
}
