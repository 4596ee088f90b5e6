//! The check in `make lint` that built-in tasks use only the public API: it must refuse one that doesn't.

use std::{fs, io, path::Path, process::Command, time::Duration};

use crate::util::alone_for;

/// The work in a fresh clone: all dependencies of the core are checked once, by a cargo that may have to wait for
/// another.
const LIMIT: Duration = Duration::from_secs(590);

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        } else {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[test]
fn a_built_in_task_that_uses_what_is_not_public_is_refused_with_its_line() {
    alone_for(LIMIT, || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().expect("there is a place for it");
        copy(&root.join("src/tasks"), &folder.path().join("tasks")).expect("they can be read");
        fs::copy(root.join("src/tasks.rs"), folder.path().join("tasks.rs")).expect("it can be read");
        let guard = |what: &str| {
            let script = root.join("scripts/tasks-as-guests");
            let output =
                Command::new(script).arg(folder.path()).output().expect("python3 is there: scripts/setup needs it");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            println!("{what}: {said}");
            (output.status.success(), said)
        };
        let (accepted, said) = guard("as it is");
        assert!(accepted, "{said}");

        let queue = folder.path().join("tasks/queue.rs");
        let code = fs::read_to_string(&queue).expect("it was copied");
        let spoilt = code.replace("Shift::new(cx.clock())", "Shift::new(cx.service().clock().clone())");
        fs::write(&queue, &spoilt).expect("it is the test's own");
        let line = spoilt.lines().position(|line| line.contains("cx.service().clock()")).expect("it was put there") + 1;
        let (accepted, said) = guard("with a private method");
        assert!(!accepted);
        assert!(
            said.contains(&format!("src/tasks/queue.rs:{line}:")) && said.contains("method `clock` is private"),
            "{said}"
        );
        assert!(said.contains("stands on the public API alone"), "{said}");
    });
}
