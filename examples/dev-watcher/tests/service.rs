//! Tests the service on a folder of its own. The system reports changes in real time, so the test waits for counters.

use std::fs;

use interloop::testing::TestService;

#[test]
fn what_changes_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let (sources, built) = (folder.path().join("src"), folder.path().join("built"));
    fs::create_dir(&sources).unwrap();
    fs::write(sources.join("first.rs"), "").unwrap();
    let build = format!("ls {} > {}", sources.display(), built.display());
    let path = sources.display().to_string();
    let args = ["--sources-path", &path, "--sources-debounce", "1ms", "--build-command", &build];
    let test = TestService::new(dev_watcher::service()).args(args).start();
    test.wait_for_counter("build.builds", 1);
    assert_eq!(fs::read_to_string(&built).unwrap(), "first.rs\n");

    fs::write(sources.join(".hidden"), "").unwrap();
    fs::write(sources.join("second.rs"), "").unwrap();
    test.wait_for_counter("build.builds", 2);
    assert_eq!(fs::read_to_string(&built).unwrap(), "first.rs\nsecond.rs\n");
    assert_eq!(test.counter("sources.created"), 1);
    test.stop().assert_clean();
}
