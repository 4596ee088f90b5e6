//! The example dev-watcher: a build at the start, and one after each change.

use std::fs;

use interloop_e2e::{Example, Signal, watched};

#[test]
fn a_change_of_the_sources_is_built_and_one_of_what_the_build_makes_is_not() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let sources = folder.path().join("src");
        fs::create_dir_all(sources.join("target")).unwrap();
        fs::write(sources.join("first.rs"), "").unwrap();
        let build = format!("cd {} && ls && date > target/made && ls -a > .hidden", sources.display());
        let path = sources.display().to_string();
        let mut watcher = Example::start("dev-watcher", &["--sources-path", &path, "--build-command", &build]);
        watcher.said("first.rs");
        watcher.log("exit status: 0 after");
        fs::create_dir(sources.join("deep")).unwrap();
        fs::write(sources.join("deep/second.rs"), "").unwrap();
        watcher.log("deep/second.rs");
        watcher.said("deep");
        watcher.signal(Signal::TERM);
        assert_eq!(watcher.wait(), 0);
        let log = watcher.whole_log();
        assert!(!log.contains("made") && !log.contains(".hidden\n"), "{log}");
    });
}

#[test]
fn a_build_that_fails_is_told_of_and_the_next_one_is_tried() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("first.rs"), "").unwrap();
        let path = folder.path().display().to_string();
        let build = format!("ls {path}; exit 3");
        let mut watcher = Example::start("dev-watcher", &["--sources-path", &path, "--build-command", &build]);
        watcher.log("exit status: 3 after");
        fs::write(folder.path().join("second.rs"), "").unwrap();
        watcher.said("second.rs");
        fs::create_dir_all(folder.path().join("deep/down")).unwrap();
        watcher.said("deep");
        fs::remove_dir_all(folder.path()).unwrap();
        watcher.log("folder: ");
        watcher.signal(Signal::INT);
        assert_eq!(watcher.wait(), 0);
        // The crate that watches has its own idea of what deserves a warning.
        assert!(!watcher.whole_log().contains("notify"), "{}", watcher.whole_log());
    });
}
