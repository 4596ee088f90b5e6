//! The end of a connection that has an open call.

use crate::util::{
    eventually,
    frames::{DATA, GOAWAY, HEADERS, LAST, Raw},
    host, watchdog,
};
use interloop::net::Net;

fn an_open_call_ends_and_none_begins_after_the_last_is_told<L: Net>() {
    let _watchdog = watchdog();
    for arguments in crate::util::variants::<L>() {
        let hosting = host::<L>(arguments);
        let mut client = Raw::connect(hosting.port());
        client.call(1, "/test.Echo/Say", b"gate");
        eventually("it is at the gate", || hosting.echo.waiting() == 1);
        hosting.running.request_shutdown("test");
        // Any stream at first; then, after a ping, the existing ones.
        client.until(|frame| frame.kind == GOAWAY && frame.payload[..4] == 1u32.to_be_bytes());
        client.call(3, "/test.Echo/Say", b"late");
        client.ping();
        assert_eq!(hosting.counter("requests"), 1);
        hosting.echo.open();
        let answer = client.until(|frame| frame.kind == DATA);
        assert_eq!((answer.stream, &answer.payload[..]), (1, &b"\0\0\0\0\x06\x0a\x04gate"[..]));
        let end = client.until(|frame| frame.kind == HEADERS);
        assert_eq!((end.stream, end.flags & LAST), (1, LAST));
        while let Some(frame) = client.next() {
            assert!(!matches!(frame.kind, DATA | HEADERS), "{frame:?}");
        }
        let report = hosting.running.join();
        assert_eq!(report.code, 0, "{report}");
    }
}

crate::util::on_each_loop! {
    an_open_call_ends_and_none_begins_after_the_last_is_told,
}
