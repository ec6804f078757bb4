//! Interrupted openings, and missing databases.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use platypush_userd::store::sled::OpenError;

use super::{COMMIT_FILE, copy_folder, database_of, names_in, open, wait_until_closed};
use crate::admin::{admin, run};
use crate::support::strace::under_strace;
use crate::support::{Daemon, make_workdir};

const NAMES: [&str; 3] = ["alice", "bob", "carol"];
/// Name that sled gives an unfinished snapshot. It sorts last.
const UNFINISHED: &str = "db/snap.7FFFFFFFFFFFFFFF.generating";

/// Regression: sled took the file for its newest snapshot and refused the database permanently.
#[test]
fn an_unfinished_snapshot_is_removed() {
    for content in [&b""[..], b"half", &[b'x'; 5_000]] {
        let folder = database_of(&NAMES);
        let unfinished = folder.path().join(UNFINISHED);
        fs::write(&unfinished, content).unwrap();
        assert_eq!(names_in(&open(folder.path()).unwrap()), NAMES);
        assert!(!unfinished.exists());
    }
}

#[test]
fn a_foreign_file_is_not_removed() {
    let folder = database_of(&NAMES);
    let precious = folder.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    let link = folder.path().join(UNFINISHED);
    symlink(&precious, &link).unwrap();
    assert!(open(folder.path()).is_err());
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
}

/// sled writes `conf` in two steps, and refuses an incomplete one.
#[test]
fn an_incomplete_conf_of_the_first_opening_does_not_prevent_the_next() {
    let whole = database_of(&NAMES);
    let conf = fs::read(whole.path().join("db/conf")).unwrap();
    for length in [0, 8, 9, 20, conf.len() - 4, conf.len() - 1] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("db")).unwrap();
        fs::write(folder.path().join("db/conf"), &conf[..length]).unwrap();
        let opened = open(folder.path());
        assert!(opened.is_ok(), "{length} bytes: {:?}", opened.err());
    }
}

/// Kills the process with SIGKILL before each call that changes a file, during the first and a
/// later opening.
#[test]
fn an_opening_succeeds_after_the_previous_one_was_killed_at_any_write() {
    let folder = tempfile::tempdir().unwrap();
    let used = folder.path().join("workdir");
    make_workdir(&used);
    admin(&used, &["users"], "").ok();
    wait_until_closed(&used);
    for calls in ["write", "pwrite64", "?rename,?renameat,?renameat2"] {
        for template in [None, Some(&used)] {
            let kills = kill_at_each(calls, template);
            assert!(kills > 0, "{calls} was never called");
        }
    }
}

/// Kills an opening at each of these system calls in turn, and returns the number of kills.
fn kill_at_each(calls: &str, template: Option<&PathBuf>) -> usize {
    for number in 1..100 {
        let folder = tempfile::tempdir().unwrap();
        let workdir = folder.path().join("workdir");
        make_workdir(&workdir);
        if let Some(template) = template {
            copy_folder(template, &workdir);
        }
        let trace = format!("trace={calls}");
        let kill = format!("inject={calls}:signal=KILL:when={number}");
        let options = ["-e", &trace, "-e", &kill, "-o", "/dev/null"];
        let program = under_strace(&Command::new(Daemon::binary()), &options);
        let killed = run(program, &workdir, &["admin", "users"], "");
        if killed.status == 0 {
            return number - 1;
        }
        let next = admin(&workdir, &["users"], "");
        assert_eq!(next.status, 0, "killed at {calls} {number}: {next:?}");
    }
    panic!("{calls} does not end");
}

/// Regression: without the commit file, the daemon started with an empty database in a working
/// directory whose database was missing.
#[test]
fn a_used_workdir_without_its_database_is_refused() {
    let markers: [(&str, &str); 2] = [
        (COMMIT_FILE, "00000000000000000007\n"),
        ("runs", "000102030405060708090a0b0c0d0e0f\n"),
    ];
    for (name, text) in markers {
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join(name);
        fs::write(&marker, text).unwrap();
        for _ in 0..2 {
            match open(folder.path()).err() {
                Some(OpenError::Missing { path, file }) => {
                    assert_eq!(path, folder.path().join("db"));
                    assert_eq!(file, marker);
                }
                other => panic!("{name}: {other:?}"),
            }
            assert!(!folder.path().join("db").exists(), "nothing is created");
        }
        // The remedy in the error message.
        fs::remove_file(&marker).unwrap();
        assert!(names_in(&open(folder.path()).unwrap()).is_empty());
    }
}

/// A power cut during the first start can leave these files. No data is stored at that time.
#[test]
fn a_workdir_that_was_never_used_is_opened() {
    for (name, text) in [
        (COMMIT_FILE, "00000000000000000000\n"),
        (COMMIT_FILE, ""),
        ("runs", ""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        assert!(names_in(&open(folder.path()).unwrap()).is_empty());
    }
}
