//! Openings that were interrupted, and databases that are gone.

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
/// As sled names a snapshot before it is complete; it sorts last.
const UNFINISHED: &str = "db/snap.7FFFFFFFFFFFFFFF.generating";

/// Regression: sled took the file for its newest snapshot and refused the
/// database for good.
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
fn what_is_no_file_of_sleds_is_not_removed() {
    let folder = database_of(&NAMES);
    let precious = folder.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    let link = folder.path().join(UNFINISHED);
    symlink(&precious, &link).unwrap();
    assert!(open(folder.path()).is_err());
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
}

/// sled writes `conf` in two steps, and refuses half a one.
#[test]
fn half_a_conf_of_the_first_opening_does_not_prevent_the_next() {
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

/// SIGKILL before each call that changes a file, at the first opening and at
/// a later one.
#[test]
fn after_an_opening_that_was_killed_anywhere_the_next_one_works() {
    let folder = tempfile::tempdir().unwrap();
    let used = folder.path().join("workdir");
    make_workdir(&used);
    admin(&used, &["users"], "").ok();
    wait_until_closed(&used);
    for calls in ["write", "pwrite64", "?rename,?renameat,?renameat2"] {
        for begin_with in [None, Some(&used)] {
            let kills = kill_at_each(calls, begin_with);
            assert!(kills > 0, "{calls} was never called");
        }
    }
}

/// How many calls there were to be killed at.
fn kill_at_each(calls: &str, begin_with: Option<&PathBuf>) -> usize {
    for number in 1..100 {
        let folder = tempfile::tempdir().unwrap();
        let workdir = folder.path().join("workdir");
        make_workdir(&workdir);
        if let Some(used) = begin_with {
            copy_folder(used, &workdir);
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

/// Regression: without the number of the last commit, a working directory
/// whose database was gone was served empty.
#[test]
fn a_used_workdir_without_its_database_is_refused() {
    let signs: [(&str, &str); 2] = [
        (COMMIT_FILE, "00000000000000000007\n"),
        ("runs", "000102030405060708090a0b0c0d0e0f\n"),
    ];
    for (name, text) in signs {
        let folder = tempfile::tempdir().unwrap();
        let sign = folder.path().join(name);
        fs::write(&sign, text).unwrap();
        for _ in 0..2 {
            match open(folder.path()).err() {
                Some(OpenError::Missing { path, file }) => {
                    assert_eq!(path, folder.path().join("db"));
                    assert_eq!(file, sign);
                }
                other => panic!("{name}: {other:?}"),
            }
            assert!(!folder.path().join("db").exists(), "nothing is made");
        }
        // As the message says.
        fs::remove_file(&sign).unwrap();
        assert!(names_in(&open(folder.path()).unwrap()).is_empty());
    }
}

/// A power cut can leave these of a first start: nothing was stored yet.
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
