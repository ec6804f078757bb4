//! An import by root reads a folder that the user of the daemon cannot read, and creates no file
//! that belongs to root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use super::Node;

/// The test needs root.
#[test]
fn root_imports_as_the_owner_of_the_working_directory() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // The user `nobody` runs the binary, and cannot enter a home directory of root.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let binary = folder.path().join("platypush-userd");
    fs::copy(crate::support::Daemon::binary(), &binary).unwrap();
    let workdir = folder.path().join("workdir");
    fs::create_dir(&workdir).unwrap();
    fs::set_permissions(&workdir, Permissions::from_mode(0o700)).unwrap();
    chown(&workdir, Some(NOBODY), Some(NOBODY)).unwrap();
    let node = Node::copy("workdir");
    fs::set_permissions(node.workdir(), Permissions::from_mode(0o700)).unwrap();

    let run = |arguments: &[&str]| {
        let mut program = std::process::Command::new(&binary);
        // Only root can read this folder, in which the configuration is searched.
        program.current_dir(node.workdir());
        crate::admin::run(program, &workdir, arguments, "")
    };
    let report = run(&["import", "platypush", "--workdir", node.workdir()]).ok();
    assert!(report.contains("\nImported 8 of 8 users.\n"), "{report}");
    let again = run(&["import", "platypush", "--workdir", node.workdir()]).ok();
    assert!(again.contains("\nImported 0 of 8 users.\n"), "{again}");
    for entry in fs::read_dir(&workdir).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().uid(),
            NOBODY,
            "{:?}",
            entry.path()
        );
    }
    let users = run(&["export"]).ok();
    assert!(users.contains("\n{\"users\":8,\"sessions\":2,"), "{users}");
}
