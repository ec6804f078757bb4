//! No secret is in a log, an error or a dead letter, nor unencrypted on disk.

mod debug;
mod mistakes;
mod scan;
mod story;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::support::Setup;

/// Returns a folder and all files and folders below it.
fn walk(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(walk(&entry.unwrap().path()));
        }
    }
    found
}

#[test]
fn other_users_cannot_read_the_workdir() {
    let mut setup = Setup::with_alice(&[]);
    assert!(setup.daemon.stop().success());
    let found = walk(&setup.daemon.workdir());
    for path in &found {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o} {}", path.display());
    }
    assert!(found.iter().any(|path| path.ends_with("db/db")));
}
