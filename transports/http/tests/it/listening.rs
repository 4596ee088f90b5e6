//! Where a server listens, and why it can't.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::util::{Client, PATIENCE, connect, failure, hi, host, watchdog};
use interloop::{Service, State, net::Net};
use interloop_http::{Address, Addresses, Health, HttpServer, Listen};

/// A temporary folder.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("interloop-http-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("it is new");
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn get_unix(path: &std::path::Path) -> String {
    Client::new(UnixStream::connect(path).expect("somebody listens")).get("/").body
}

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn it_answers_on_a_free_port_of_the_local_host_by_default<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    assert_eq!(hosting.addresses.len(), 1);
    assert_eq!(hosting.port().ip(), Ipv4Addr::LOCALHOST);
    assert_ne!(hosting.port().port(), 0);
    assert_eq!(connect(hosting.port()).get("/").body, "hi");
    hosting.stop();
}

fn it_answers_on_ipv6<L: Net>() {
    let _watchdog = watchdog();
    if !has_ipv6() {
        return;
    }
    for name in ["::1", "[::1]"] {
        let hosting = host::<L, _>(HttpServer::new(hi()), &["--http-host", name]);
        assert_eq!(hosting.port().ip(), Ipv6Addr::LOCALHOST);
        assert_eq!(connect(hosting.port()).get("/").body, "hi");
        hosting.stop();
    }
}

fn it_answers_at_several_addresses_on_one_port<L: Net>() {
    let _watchdog = watchdog();
    let hosting =
        host::<L, _>(HttpServer::new(hi()), &["--http-host", "127.0.0.1,127.0.0.2", "--http-host", "127.0.0.3"]);
    let ports = hosting.addresses.iter().map(|address| address.tcp().expect("a port")).collect::<Vec<_>>();
    assert_eq!(ports.len(), 3);
    assert!(ports.iter().all(|address| address.port() == ports[0].port()));
    for address in ports {
        assert_eq!(connect(address).get("/").body, "hi");
    }
    hosting.stop();
}

fn a_host_name_is_looked_up<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()).host("localhost"), &[]);
    for address in &hosting.addresses {
        assert!(address.tcp().is_some_and(|address| address.ip().is_loopback()), "{address}");
    }
    assert_eq!(connect(hosting.port()).get("/").body, "hi");
    hosting.stop();
}

fn an_address_named_twice_is_bound_once<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &["--http-host", "127.0.0.1,127.0.0.1"]);
    assert_eq!(hosting.addresses.len(), 1);
    hosting.stop();
}

fn the_command_line_goes_before_the_code<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()).host("127.0.0.2"), &["--http-host", "127.0.0.3"]);
    assert_eq!(hosting.port().ip().to_string(), "127.0.0.3");
    hosting.stop();
}

/// Later settings override earlier ones, whether they come from a `Listen` or from a short method.
fn what_the_code_says_adds_up<L: Net>() {
    let _watchdog = watchdog();
    let folder = Folder::new();
    let path = folder.file("http.sock");
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is room");
    let port = taken.local_addr().expect("it is bound").port();
    let listen = Listen::port(0).host("127.0.0.2").unix(folder.file("other.sock")).max_connections(1);
    let server = HttpServer::new(hi()).port(port).host("127.0.0.1").listen(listen).unix(&path);
    let hosting = host::<L, _>(server, &[]);
    let hosts = hosting.addresses[..2].iter().map(|address| address.tcp().expect("a port").ip().to_string());
    assert_eq!(hosts.collect::<Vec<_>>(), ["127.0.0.1", "127.0.0.2"]);
    assert_eq!(hosting.addresses[2..], [Address::Unix(path.clone())]);
    // One connection may be open on all of them together.
    let mut first = connect(hosting.port());
    assert_eq!(first.get("/").body, "hi");
    let mut second = Client::new(UnixStream::connect(&path).expect("it listens"));
    second.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    let is_answered = |client: &Client<UnixStream>| {
        client.stream().set_nonblocking(true).expect("it is open");
        let mut peek = [0; 1];
        let answered = rustix::net::recv(client.stream(), &mut peek, rustix::net::RecvFlags::PEEK).is_ok();
        client.stream().set_nonblocking(false).expect("it is open");
        answered
    };
    assert_eq!(first.get("/").body, "hi");
    assert!(!is_answered(&second));
    drop(first);
    assert_eq!(second.receive().body, "hi");
    drop(second);
    hosting.stop();
}

fn the_addresses_are_in_the_api_and_the_status_from_ready_to_the_end<L: Net>() {
    let _watchdog = watchdog();
    let server = HttpServer::new(hi());
    let addresses = server.addresses();
    assert_eq!(addresses.get(), []);
    let hosting = host::<L, _>(server, &[]);
    assert!(hosting.running.wait_started_timeout(PATIENCE));
    assert_eq!(addresses.get(), hosting.addresses);
    assert_eq!(crate::util::block_on(addresses.bound()), Some(hosting.addresses.clone()));
    let status = hosting.running.status();
    assert_eq!(status.tasks[0].state, State::Running);
    assert_eq!(status.tasks[0].exports["address"], hosting.port().to_string());
    let name = status.tasks[0].name.clone();
    let service = hosting.running.handle();
    assert_eq!(service.addresses(&name), Ok(hosting.addresses.clone()));
    hosting.stop();
    assert_eq!(service.addresses(&name), Ok(Vec::new()));
    assert_eq!(service.status().tasks[0].exports.get("address"), None);
    assert_eq!(addresses.get(), []);
    assert_eq!(crate::util::block_on(addresses.bound()), None);
}

#[test]
fn a_server_that_never_starts_has_no_addresses_to_wait_for() {
    let _watchdog = watchdog();
    let server = HttpServer::new(hi());
    let addresses = server.addresses();
    drop(server);
    assert_eq!(addresses.wait_timeout(PATIENCE), None);
}

fn a_restarted_server_announces_its_new_addresses<L: Net>() {
    let _watchdog = watchdog();
    let addresses = Addresses::new();
    let announced = addresses.clone();
    let mut service = Service::new("test");
    service.task_with::<L>("http", move || HttpServer::new(hi()).announce_to(announced.clone()));
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started_timeout(PATIENCE));
    let first = addresses.tcp().expect("it listens");
    let mut client = connect(first);
    assert_eq!(client.get("/").body, "hi");
    running.restart_task("http").expect("it is there");
    assert_eq!(client.closed(), "");
    crate::util::eventually("it listens again", || {
        running.status().tasks[0].incarnation == 2 && running.is_ready() && addresses.tcp().is_some()
    });
    assert_eq!(connect(addresses.tcp().expect("it listens")).get("/").body, "hi");
    assert_eq!(running.stop().code, 0);
}

fn a_port_in_use_is_an_error_that_names_it<L: Net>() {
    let _watchdog = watchdog();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = taken.local_addr().expect("it is bound").port();
    let said = failure::<L, _>(HttpServer::new(hi()), &["--http-port", &port.to_string()]);
    assert!(
        said.contains(&format!("can't listen on 127.0.0.1:{port}: Address already in use (os error 98)")),
        "{said}"
    );
}

fn what_was_bound_is_released_when_another_address_fails<L: Net>() {
    let _watchdog = watchdog();
    let folder = Folder::new();
    let path = folder.file("missing/http.sock");
    let said = failure::<L, _>(HttpServer::new(hi()), &["--http-port", "0", "--http-unix", text(&path)]);
    assert!(said.contains(&format!("can't listen on {}: No such file or directory", path.display())), "{said}");
}

fn an_unknown_host_is_an_error_that_names_it<L: Net>() {
    let _watchdog = watchdog();
    let said = failure::<L, _>(HttpServer::new(hi()), &["--http-host", "no-such-host.invalid", "--http-port", "8000"]);
    assert!(said.contains("can't listen on no-such-host.invalid:8000: "), "{said}");
}

fn an_address_of_another_machine_is_an_error_that_names_it<L: Net>() {
    let _watchdog = watchdog();
    let said = failure::<L, _>(HttpServer::new(hi()), &["--http-host", "192.0.2.1", "--http-port", "8000"]);
    assert!(said.contains("can't listen on 192.0.2.1:8000: Cannot assign requested address"), "{said}");
}

fn the_port_is_free_again_after_the_stop<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    let port = hosting.port();
    // The server closes first, so that its end of the connection stays in TIME_WAIT.
    let mut client = connect(port);
    assert_eq!(client.get("/").body, "hi");
    hosting.stop();
    assert_eq!(client.closed(), "");
    let again = host::<L, _>(HttpServer::new(hi()).port(port.port()), &[]);
    assert_eq!(again.port(), port);
    again.stop();
}

fn it_answers_on_a_unix_socket_alone_and_removes_it_at_the_end<L: Net>() {
    let _watchdog = watchdog();
    let folder = Folder::new();
    let path = folder.file("http.sock");
    let hosting = host::<L, _>(HttpServer::new(hi()), &["--http-unix", text(&path)]);
    assert_eq!(hosting.addresses, [Address::Unix(path.clone())]);
    assert_eq!(get_unix(&path), "hi");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    hosting.stop();
    assert!(!path.exists());
}

fn a_unix_socket_and_a_port_go_together<L: Net>() {
    let _watchdog = watchdog();
    let folder = Folder::new();
    let path = folder.file("http.sock");
    let hosting =
        host::<L, _>(HttpServer::new(hi()).listen(Listen::new().unix(&path).unix_mode(0o600)), &["--http-port", "0"]);
    assert_eq!(hosting.addresses.len(), 2);
    assert_eq!(connect(hosting.port()).get("/").body, "hi");
    assert_eq!(get_unix(&path), "hi");
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    hosting.stop();
}

fn a_unix_socket_gets_its_mode_and_group<L: Net>() {
    let _watchdog = watchdog();
    let folder = Folder::new();
    let path = folder.file("http.sock");
    // Anybody may set their own group.
    let group = std::fs::metadata(&folder.0).expect("it is there").gid();
    let group = group.to_string();
    let arguments = ["--http-unix", text(&path), "--http-unix-mode", "0606", "--http-unix-group", &group];
    let hosting = host::<L, _>(HttpServer::new(hi()), &arguments);
    let metadata = std::fs::metadata(&path).expect("it is there");
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.gid().to_string()), (0o606, group));
    hosting.stop();
}

fn an_unknown_group_is_an_error_that_names_it<L: Net>() {
    let _watchdog = watchdog();
    let folder = Folder::new();
    let path = folder.file("http.sock");
    let said =
        failure::<L, _>(HttpServer::new(hi()).listen(Listen::new().unix(&path).unix_group("no-such-group")), &[]);
    assert!(said.contains("http.sock: there is no group no-such-group"), "{said}");
    assert!(!path.exists());
}

fn a_stale_unix_socket_is_replaced<L: Net>() {
    let _watchdog = watchdog();
    let folder = Folder::new();
    let path = folder.file("http.sock");
    // std leaves the file behind.
    drop(UnixListener::bind(&path).expect("it is new"));
    assert!(path.exists());
    let hosting = host::<L, _>(HttpServer::new(hi()).unix(&path), &[]);
    assert_eq!(get_unix(&path), "hi");
    hosting.stop();
}

fn a_living_unix_socket_is_refused_and_left_alone<L: Net>() {
    let _watchdog = watchdog();
    let folder = Folder::new();
    let path = folder.file("http.sock");
    let first = host::<L, _>(HttpServer::new(hi()).unix(&path), &[]);
    let said = failure::<L, _>(HttpServer::new(hi()).unix(&path), &[]);
    assert!(said.contains(&format!("can't listen on {}: somebody else listens there", path.display())), "{said}");
    assert_eq!(get_unix(&path), "hi");
    first.stop();
}

fn a_file_that_is_no_socket_is_refused_and_left_alone<L: Net>() {
    let _watchdog = watchdog();
    let folder = Folder::new();
    let path = folder.file("precious");
    std::fs::write(&path, "data").expect("a folder of ours");
    let said = failure::<L, _>(HttpServer::new(hi()).unix(&path), &[]);
    assert!(said.contains("precious: there is a file that is not a socket"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "data");
}

fn a_unix_socket_that_is_no_longer_ours_stays<L: Net>() {
    let _watchdog = watchdog();
    let folder = Folder::new();
    let path = folder.file("http.sock");
    let hosting = host::<L, _>(HttpServer::new(hi()).unix(&path), &[]);
    std::fs::remove_file(&path).expect("it is there");
    let other = UnixListener::bind(&path).expect("it is gone");
    hosting.stop();
    assert!(path.exists());
    drop(other);
}

fn wrong_values_are_refused_before_the_start<L: Net>() {
    let _watchdog = watchdog();
    for (flag, value) in [
        ("--http-port", "65536"),
        ("--http-unix-mode", "999"),
        ("--http-max-header-size", "1KiB"),
        ("--http-max-body-size", "much"),
        ("--http-idle-timeout", "soon"),
    ] {
        let (service, _) = crate::util::service::<L, _>(HttpServer::new(hi()), &[flag, value]);
        let error = service.start().expect_err(flag);
        assert_eq!(error.code(), 2);
        assert!(error.to_string().contains(flag), "{error}");
    }
}

/// Alone, and beside places that options name; and its bound address stays.
fn sockets_that_are_bound_already_are_served<L: Net>() {
    let _watchdog = watchdog();
    let folder = Folder::new();
    let path = folder.file("http.sock");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("there is room");
    let address = tcp.local_addr().expect("it is bound");
    let unix = UnixListener::bind(&path).expect("it is new");
    let listen = Listen::from(tcp).listener(unix);
    let hosting = host::<L, _>(HttpServer::new(hi()).listen(listen.clone()), &[]);
    assert_eq!(hosting.addresses, [Address::Tcp(address), Address::Unix(path.clone())]);
    assert_eq!(connect(address).get("/").body, "hi");
    assert_eq!(get_unix(&path), "hi");
    hosting.stop();
    assert!(path.exists());

    // The clone has the same sockets, and a client that comes between two servers waits.
    let mut waits = connect(address);
    waits.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    let hosting = host::<L, _>(HttpServer::new(hi()).listen(listen), &["--http-port", "0"]);
    assert_eq!(waits.receive().body, "hi");
    assert_eq!(hosting.addresses.len(), 3);
    for place in hosting.addresses.iter().filter_map(Address::tcp) {
        assert_eq!(connect(place).get("/").body, "hi");
    }
    drop(waits);
    hosting.stop();
    assert!(TcpStream::connect(address).is_err(), "the last one that has it closes it");
    assert!(path.exists());
}

/// Works as a `Listen` of it.
fn a_listener_of_std_will_do<L: Net>() {
    let _watchdog = watchdog();
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is room");
    let address = listener.local_addr().expect("it is bound");
    let hosting = host::<L, _>(HttpServer::new(hi()).listen(listener), &[]);
    assert_eq!(hosting.addresses, [Address::Tcp(address)]);
    assert_eq!(connect(address).get("/").body, "hi");
    hosting.stop();
}

fn a_restarted_server_has_the_same_socket_and_refuses_no_client<L: Net>() {
    let _watchdog = watchdog();
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is room");
    let address = listener.local_addr().expect("it is bound");
    let listen = Listen::from(listener);
    let mut service = Service::new("test");
    service.task_with::<L>("http", move || HttpServer::new(hi()).listen(listen.clone()));
    let running = service.start().expect("the configuration works");
    assert_eq!(connect(address).get("/").body, "hi");
    running.restart_task("http").expect("it is there");
    loop {
        // Whenever it comes, nobody refuses it; right at the stop it may be closed before it has sent a request.
        let mut client = connect(address);
        let _ = client.try_send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = client.closed();
        assert!(answer.is_empty() || answer.ends_with("hi"), "{answer}");
        let status = running.status();
        if status.tasks[0].incarnation == 2 && status.tasks[0].state == State::Running {
            break;
        }
    }
    assert_eq!(connect(address).get("/").body, "hi");
    assert_eq!(running.stop().code, 0);
}

fn a_socket_that_does_not_listen_ends_the_start<L: Net>() {
    let _watchdog = watchdog();
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is room");
    let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let address = client.local_addr().expect("it is connected");
    let useless = || TcpListener::from(OwnedFd::from(client.try_clone().expect("there is room")));
    let said = format!("can't listen on the socket {address} that was handed in: it does not listen");
    let (service, _) = crate::util::service::<L, _>(HttpServer::new(hi()).listen(useless()), &[]);
    let error = service.start().expect_err("it does not listen");
    assert_eq!(error.code(), 78);
    assert_eq!(error.to_string(), format!("test: task http: {said}"));
    // If nothing checks it before the start, the task reports it.
    let listen = Listen::from(useless());
    let mut service = Service::new("test");
    service.task_with::<L>("http", move || HttpServer::new(hi()).listen(listen.clone()));
    let report = service.start().expect("the configuration works").join();
    let cause = report.tasks[0].cause.as_ref().expect("a task that failed has a cause").to_string();
    assert_eq!((report.code, cause.contains(&said)), (1, true), "{cause}");
}

#[test]
fn health_checks_answer_on_a_socket_that_is_bound_already() {
    let _watchdog = watchdog();
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is room");
    let address = listener.local_addr().expect("it is bound");
    let mut service = Service::new("test");
    service.task_on::<interloop::Thread>("health", Health::new().listen(listener));
    let running = service.start().expect("the configuration works");
    assert_eq!(connect(address).get("/livez").body, "ok\n");
    assert_eq!(running.stop().code, 0);
}

#[test]
fn addresses_may_be_used_from_any_thread() {
    fn check<T: Send + Sync + Clone>() {}
    check::<Addresses>();
    let address = Address::Tcp(SocketAddr::from((Ipv6Addr::LOCALHOST, 80)));
    assert_eq!(address.to_string(), "[::1]:80");
}

crate::util::on_each_loop! {
    a_restarted_server_announces_its_new_addresses,
    it_answers_on_a_free_port_of_the_local_host_by_default,
    it_answers_on_ipv6,
    it_answers_at_several_addresses_on_one_port,
    a_host_name_is_looked_up,
    an_address_named_twice_is_bound_once,
    the_command_line_goes_before_the_code,
    what_the_code_says_adds_up,
    the_addresses_are_in_the_api_and_the_status_from_ready_to_the_end,
    a_port_in_use_is_an_error_that_names_it,
    what_was_bound_is_released_when_another_address_fails,
    an_unknown_host_is_an_error_that_names_it,
    an_address_of_another_machine_is_an_error_that_names_it,
    the_port_is_free_again_after_the_stop,
    it_answers_on_a_unix_socket_alone_and_removes_it_at_the_end,
    a_unix_socket_and_a_port_go_together,
    a_unix_socket_gets_its_mode_and_group,
    an_unknown_group_is_an_error_that_names_it,
    a_stale_unix_socket_is_replaced,
    a_living_unix_socket_is_refused_and_left_alone,
    a_file_that_is_no_socket_is_refused_and_left_alone,
    a_unix_socket_that_is_no_longer_ours_stays,
    wrong_values_are_refused_before_the_start,
}

#[test]
fn help_and_dry_run_show_what_the_code_has_set() {
    use interloop_http::{Health, HttpServer, Listen};
    let minute = std::time::Duration::from_secs(60);
    let service = || {
        let mut service = interloop::Service::new("told");
        let listen = Listen::port(8020).host("127.0.0.1").host("::1").unix("/run/told.sock").unix_mode(0o600);
        let listen =
            listen.unix_group("www").max_connections(7).min_rate(9).rate_grace(minute).tcp_keepalive(2 * minute);
        let server = HttpServer::new(axum::Router::new()).listen(listen).max_header_size(9000).max_body_size(5);
        let server = server.idle_timeout(minute).header_timeout(minute).ping(minute, minute).max_streams(3);
        service.task_on::<interloop::Thread>("http", server);
        let health = Health::new().port(8021).heartbeat_timeout(minute).allow_host("a.example").allow_host("b.example");
        service.task_on::<interloop::Thread>("health", health);
        service
    };
    let values = [
        ("host", "127.0.0.1 ::1"),
        ("port", "8020"),
        ("unix", "/run/told.sock"),
        ("unix-mode", "0600"),
        ("unix-group", "www"),
        ("max-connections", "7"),
        ("tcp-keepalive", "2m"),
        ("min-rate", "9"),
        ("rate-grace", "1m"),
        ("max-header-size", "9000"),
        ("max-body-size", "5"),
        ("idle-timeout", "1m"),
        ("header-timeout", "1m"),
        ("max-streams", "3"),
        ("ping-interval", "1m"),
        ("ping-timeout", "1m"),
    ];
    interloop_transport_tests::shows_what_code_has_set(service, "http", &values);
    let values = [("port", "8021"), ("heartbeat-timeout", "1m"), ("allow-host", "a.example b.example")];
    interloop_transport_tests::shows_what_code_has_set(service, "health", &values);
}

/// On loops with sockets of their own, and with the core's.
mod bound_already {
    use super::{
        a_listener_of_std_will_do, a_restarted_server_has_the_same_socket_and_refuses_no_client,
        a_socket_that_does_not_listen_ends_the_start, sockets_that_are_bound_already_are_served,
    };

    interloop_transport_tests::on_loops! {
        {
            on_tokio: interloop_tokio::Tokio,
            on_smol: interloop_smol::Smol,
            on_glib: interloop_glib::Glib,
            on_thread: interloop::Thread
        }
        {
            sockets_that_are_bound_already_are_served,
            a_listener_of_std_will_do,
            a_restarted_server_has_the_same_socket_and_refuses_no_client,
            a_socket_that_does_not_listen_ends_the_start,
        }
    }
}
