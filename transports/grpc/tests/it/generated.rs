//! The checked-in descriptors must be protoc's output for the interfaces.

use std::{path::Path, process::Command};

#[test]
fn what_was_generated_is_current() {
    let version = Command::new("protoc").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    // Other versions may write other bytes.
    if !version.contains("3.21.") {
        eprintln!("no protoc 3.21 is here: {version:?}");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/generate");
    let check = Command::new(script).args(["--check", "protoc"]).output().expect("there is a shell");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn help_and_dry_run_show_what_the_code_has_set() {
    let service = || {
        let mut service = interloop::Service::new("told");
        let server = interloop_grpc::GrpcServer::new().port(8020).max_body_size(500);
        service.task_on::<interloop::Thread>("grpc", server.idle_timeout(std::time::Duration::from_secs(60)));
        service
    };
    let values = [("port", "8020"), ("max-body-size", "500"), ("idle-timeout", "1m")];
    interloop_transport_tests::shows_what_code_has_set(service, "grpc", &values);
    // A call has no limit that nobody has set.
    let bare = || {
        let mut service = interloop::Service::new("told");
        service.task_on::<interloop::Thread>("grpc", interloop_grpc::GrpcServer::new());
        service
    };
    let dry = interloop_transport_tests::printed(bare(), "--dry-run");
    assert!(dry.contains("# max-body-size is not set"), "{dry}");
}
