//! Options have methods of their names.

use std::time::Duration;

use interloop_dbus::{DbusOptions, DbusService};
use interloop_transport_tests::every_option_has_a_method;

#[test]
fn a_service_has_a_method_for_each_of_its_options() {
    every_option_has_a_method!(
        DbusOptions, DbusService::new("org.example.Name");
        replace(true), queue(true), system_bus(), address("unix:path=/x"), max_calls(1),
        connect_timeout(Duration::from_secs(1));
        // The argument of `new`.
        &["bus-name"]
    );
}
