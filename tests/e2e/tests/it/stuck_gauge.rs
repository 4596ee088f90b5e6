//! A gauge whose closure blocks for ever, requested by real clients of each kind: they are answered in time, without
//! it, and it is named.

use std::{
    process::Command,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use interloop::{Running, Service, Thread, task_fn};
use interloop_dbus::{Bus, DbusService};
use interloop_e2e::{Daemon, SOON, get, watched};
use interloop_fb303::{
    Fb303Server,
    fb303::{FacebookServiceSyncClient, TFacebookServiceSyncClient},
};
use interloop_http::Health;
use interloop_thrift::{Address, Wire, connect};

/// How long the first reader may wait, and how long later ones.
const FIRST: Duration = Duration::from_millis(1500);
const NEXT: Duration = Duration::from_millis(400);

#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn pass(&self) {
        let open = self.0.0.lock().expect("no panic");
        drop(self.0.1.wait_while(open, |open| !*open).expect("no panic"));
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        *self.gate.0.0.lock().expect("no panic") = true;
        self.gate.0.1.notify_all();
    }
}

struct Shop {
    running: Running,
    gate: Gate,
    http: std::net::SocketAddr,
    thrift: std::net::SocketAddr,
    daemon: Daemon,
}

fn shop() -> Shop {
    let (daemon, gate) = (Daemon::start(), Gate::default());
    let mut service = Service::new("shop");
    service.arguments(["--health-port", "0", "--fb303-port", "0"]);
    let (health, fb303) = (Health::new(), Fb303Server::new());
    let (http, thrift) = (health.addresses(), fb303.addresses());
    service.task_on::<Thread>("health", health);
    service.task_on::<Thread>("fb303", fb303);
    let dbus = DbusService::new("org.example.Shop").bus(Bus::Address(daemon.address().to_owned())).sparts_objects();
    service.task_on::<Thread>("dbus", dbus);
    let blocks = gate.clone();
    let till = task_fn::<Thread>(async move |cx| {
        let blocks = blocks.clone();
        cx.gauge_from("asked", move || {
            blocks.pass();
            7.0
        });
        cx.gauge_from("other", || 5.0);
        cx.ready();
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("till", till);
    let running = service.start().expect("it starts");
    assert!(running.handle().wait_started_timeout(SOON), "{}", running.status());
    let (http, thrift) = (http.tcp().expect("it listens"), thrift.tcp().expect("it listens"));
    Shop { running, gate, http, thrift, daemon }
}

fn dbus(shop: &Shop, object: &str, method: &str) -> String {
    let mut command = Command::new("gdbus");
    command.args(["call", "--address", shop.daemon.address(), "--dest", "org.example.Shop", "--object-path", object]);
    let output = command.args(["--method", method]).output().expect("gdbus is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fb303(shop: &Shop) -> String {
    let (input, output) = connect(&Address::Tcp(shop.thrift), Wire::framed(), Some(SOON)).expect("it listens");
    let counters = FacebookServiceSyncClient::new(input, output).get_counters().expect("an answer");
    format!("{counters:?}")
}

/// A request, the answer it must contain, and the name that the gauge would have.
type Reader = (fn(&Shop) -> String, &'static str, &'static str);

#[test]
fn each_reader_of_a_service_is_answered_in_time_and_the_gauge_is_left_out_and_named() {
    let readers: [Reader; 5] = [
        (|shop| get(shop.http, "/status").body, "\"other\":5.0", "\"asked\""),
        (|shop| get(shop.http, "/metrics").body, "shop_other", "shop_asked"),
        (fb303, "till.other", "till.asked"),
        (|shop| dbus(shop, "/shop/fb303", "com.facebook.fb303.Service.getCounters"), "'till.other': 5", "'till.asked'"),
        (|shop| dbus(shop, "/org/interloop/Service", "org.interloop.Service.ListTasks"), "'till', 'running'", "asked"),
    ];
    for (read, there, left_out) in readers {
        watched(|| {
            let shop = shop();
            for most in [FIRST, NEXT] {
                let begun = Instant::now();
                let said = read(&shop);
                let took = begun.elapsed();
                assert!(took < most, "{there}: {took:?}");
                assert!(said.contains(there) && !said.contains(left_out), "{said}");
            }
            let named = shop.running.warnings().iter().map(ToString::to_string).collect::<String>();
            assert_eq!(named, "till.gauge asked: it has not answered within 500 ms, and is left out until it does");
            shop.running.request_shutdown("test");
        });
    }
}
