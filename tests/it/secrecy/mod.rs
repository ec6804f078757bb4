//! Nothing secret in a log, an error, a dead letter or, in clear, on disk.

mod debug;
mod mistakes;
mod scan;
mod story;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::support::Setup;

/// Every file and folder below one, itself included.
fn everything_below(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(everything_below(&entry.unwrap().path()));
        }
    }
    found
}

#[test]
fn nobody_else_may_read_a_file_of_the_workdir() {
    let mut setup = Setup::with_alice(&[]);
    assert!(setup.daemon.stop().success());
    let found = everything_below(&setup.daemon.workdir());
    for path in &found {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o} {}", path.display());
    }
    assert!(found.iter().any(|path| path.ends_with("db/db")));
}
