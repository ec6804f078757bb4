//! Conditions under which the daemon refuses to start, and its error messages.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Daemon, RedisServer, Setup, change_database};

/// Exit status when the operator must act: another start would fail, too.
const NEEDS_OPERATOR: i32 = 78;

/// Starts a daemon that must refuse to start and returns its exit status and log.
fn refused(folder: Arc<TempDir>, redis: &RedisServer, settings: &[(&str, &str)]) -> (i32, String) {
    let mut daemon = Daemon::launch(folder, redis, settings, |command| command);
    let status = daemon.wait();
    let code = status.code();
    let code = code.unwrap_or_else(|| panic!("signal {:?}:\n{}", status.signal(), daemon.log()));
    (code, daemon.log())
}

/// Returns a folder with the store of a stopped daemon: 21 users.
pub(super) fn stopped_store() -> (Arc<TempDir>, RedisServer) {
    let mut setup = Setup::with_alice(&[]);
    let token = setup.session_of_alice();
    for number in 0..20 {
        let name = format!("user-{number}");
        let args = json!({"username": name, "password": "secret", "session_token": token});
        setup.client.call("create_user", args).ok();
    }
    assert!(setup.daemon.stop().success());
    (setup.daemon.folder(), setup.redis)
}

#[track_caller]
pub(super) fn assert_contains(log: &str, texts: &[&str]) {
    for text in texts {
        assert!(log.contains(text), "no {text:?} in:\n{log}");
    }
}

#[test]
fn a_second_daemon_on_the_same_workdir_is_refused_and_the_first_continues() {
    let mut setup = Setup::with_alice(&[]);
    let (code, log) = refused(setup.daemon.folder(), &setup.redis, &[]);
    assert_eq!(code, 1);
    assert_contains(&log, &["another platypush-userd runs on", "stop it first"]);
    assert!(!log.contains("ready"), "{log}");
    setup.session_of_alice();
}

#[test]
fn an_invalid_configuration_has_its_own_exit_status() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let redis = RedisServer::start();
    let wrong = [("MAX_IN_FLIGHT", "0"), ("REPLY_TTL", "soon")];
    let (code, log) = refused(folder, &redis, &wrong);
    assert_eq!(code, NEEDS_OPERATOR);
    // All errors are reported together.
    assert_contains(&log, &["MAX_IN_FLIGHT", "REPLY_TTL"]);
}

#[test]
fn an_unusable_workdir_is_named() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let redis = RedisServer::start();
    let workdir = folder.path().join("file");
    fs::write(&workdir, "").unwrap();
    let workdir = workdir.to_str().unwrap();
    let (code, log) = refused(folder, &redis, &[("WORKDIR", workdir)]);
    assert_eq!(code, NEEDS_OPERATOR);
    assert_contains(&log, &["cannot use", workdir, "Not a directory"]);
}

#[test]
fn a_store_of_another_version_is_refused_and_unchanged() {
    let (folder, redis) = stopped_store();
    let workdir = folder.path().join("workdir");
    let newer = ["schema version 6", "knows up to 5", "install the newer"];
    let older = [
        "schema version 4",
        "reads 5",
        "export with the version that wrote it, then import here",
    ];
    for (schema, words) in [(6, newer), (4, older)] {
        set_schema(&workdir, schema);
        let (code, log) = refused(Arc::clone(&folder), &redis, &[]);
        assert_eq!(code, NEEDS_OPERATOR);
        assert_contains(&log, &words);
    }
    // With the original version again, all users exist.
    set_schema(&workdir, 5);
    let daemon = Daemon::start_in(folder, &redis, &[]);
    let users = redis.client().call("get_users", json!({}));
    assert_eq!(users.ok().as_array().unwrap().len(), 21);
    drop(daemon);
}

fn set_schema(workdir: &Path, version: u32) {
    change_database(workdir, |database| {
        database
            .insert("m:schema", &version.to_be_bytes())
            .unwrap()
            .expect("a store has a schema version");
    });
}

#[test]
fn a_missing_or_wrong_key_file_stops_the_start_and_is_never_replaced() {
    let (folder, redis) = stopped_store();
    let keys = folder.path().join("workdir/secret.keys");
    let right = fs::read(&keys).unwrap();
    fs::remove_file(&keys).unwrap();
    let path = keys.to_str().unwrap();
    for _ in 0..2 {
        let (code, log) = refused(Arc::clone(&folder), &redis, &[]);
        assert_eq!(code, NEEDS_OPERATOR);
        assert_contains(&log, &[path, "is missing", "restore it from a backup"]);
        assert!(!keys.exists());
    }
    let wrong = format!("1 {}\n", "5a".repeat(32));
    fs::write(&keys, &wrong).unwrap();
    fs::set_permissions(&keys, Permissions::from_mode(0o600)).unwrap();
    for _ in 0..2 {
        let (code, log) = refused(Arc::clone(&folder), &redis, &[]);
        assert_eq!(code, NEEDS_OPERATOR);
        assert_contains(&log, &[path, "does not hold the key", "restore the right"]);
    }
    assert_eq!(fs::read_to_string(&keys).unwrap(), wrong);
    fs::write(&keys, right).unwrap();
    let _daemon = Daemon::start_in(folder, &redis, &[]);
    let login = redis
        .client()
        .call("authenticate_user", json!(["alice", "secret"]));
    assert_eq!(login.ok(), &json!(true));
}

/// Regression: the exit status was 1, so systemd restarted the service ten times a second for ever.
#[test]
fn a_damaged_file_stops_the_start_and_is_named_and_unchanged() {
    let (folder, redis) = stopped_store();
    let damages: [&[u8]; 3] = [b"", b"rubbish\n", b"\xff\xfe\x00"];
    for name in ["store.id", "secret.keys", "commit"] {
        let path = folder.path().join("workdir").join(name);
        let whole = fs::read(&path).unwrap();
        for damaged in damages {
            // An empty `commit` file is repaired.
            if name == "commit" && damaged.is_empty() {
                continue;
            }
            fs::write(&path, damaged).unwrap();
            let (code, log) = refused(Arc::clone(&folder), &redis, &[]);
            assert_eq!(code, NEEDS_OPERATOR, "{log}");
            assert_contains(&log, &[path.to_str().unwrap(), "from a backup"]);
            assert_eq!(fs::read(&path).unwrap(), damaged);
        }
        fs::write(&path, whole).unwrap();
    }
    fs::write(folder.path().join("workdir/runs"), b"\xff\xfe\nrubbish\n").unwrap();
    let _daemon = Daemon::start_in(folder, &redis, &[]);
    let users = redis.client().call("get_users", json!({}));
    assert_eq!(users.ok().as_array().unwrap().len(), 21);
}

#[test]
fn unsafe_permissions_stop_the_start_with_the_command_to_type() {
    let (folder, redis) = stopped_store();
    let workdir = folder.path().join("workdir");
    let keys = workdir.join("secret.keys");
    for (path, mode, safe_mode) in [
        (&workdir, 0o770, 0o700),
        (&workdir, 0o703, 0o700),
        (&keys, 0o640, 0o600),
        (&keys, 0o602, 0o600),
    ] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let (code, log) = refused(Arc::clone(&folder), &redis, &[]);
        assert_eq!(code, NEEDS_OPERATOR, "{log}");
        let path_text = path.to_str().unwrap();
        assert_contains(&log, &[&format!("(mode {mode:o}"), "chmod ", path_text]);
        fs::set_permissions(path, Permissions::from_mode(safe_mode)).unwrap();
    }
    // The right to enter the folder does not allow reading any file.
    fs::set_permissions(&workdir, Permissions::from_mode(0o755)).unwrap();
    let mut daemon = Daemon::start_in(Arc::clone(&folder), &redis, &[]);
    assert_eq!(
        daemon.count_in_log("others may enter the working directory"),
        1
    );
    assert!(daemon.stop().success());
}

/// systemd protects its credentials itself. Their mode may show the mask of an access control list.
#[test]
fn keys_in_a_systemd_credential_may_have_any_mode() {
    let (folder, redis) = stopped_store();
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let keys = credentials.join("secret.keys");
    fs::rename(folder.path().join("workdir/secret.keys"), &keys).unwrap();
    fs::set_permissions(&keys, Permissions::from_mode(0o440)).unwrap();
    let mut daemon = Daemon::launch(folder, &redis, &[], |mut command| {
        command.env("CREDENTIALS_DIRECTORY", &credentials);
        command
    });
    daemon.wait_for_log("daemon: ready");
    assert!(daemon.stop().success());
}

#[test]
fn a_missing_database_is_not_replaced_by_an_empty_one() {
    let (folder, redis) = stopped_store();
    let workdir = folder.path().join("workdir");
    fs::remove_dir_all(workdir.join("db")).unwrap();
    let (code, log) = refused(Arc::clone(&folder), &redis, &[]);
    assert_eq!(code, NEEDS_OPERATOR);
    let commit = workdir.join("commit");
    let commit = commit.to_str().unwrap();
    assert_contains(&log, &["there is no database", "Restore a backup", commit]);
    // The second start does not create it either.
    assert_eq!(refused(folder, &redis, &[]).0, NEEDS_OPERATOR);
}

#[test]
fn a_truncated_database_is_refused_with_a_message() {
    let (folder, redis) = stopped_store();
    // A second start writes a snapshot, which the third start reads.
    let mut daemon = Daemon::start_in(Arc::clone(&folder), &redis, &[]);
    assert!(daemon.stop().success());
    let database = daemon.workdir().join("db");
    let files = read_files(&database);
    let whole = &files["db"];
    let written = whole.iter().rposition(|byte| *byte != 0).unwrap();

    for length in [0, written / 2, written - 100] {
        for (name, bytes) in &files {
            let bytes = if name == "db" {
                &bytes[..length]
            } else {
                bytes
            };
            fs::write(database.join(name), bytes).unwrap();
        }
        let (code, log) = refused(Arc::clone(&folder), &redis, &[]);
        let case = format!("{length} of {written} bytes:\n{log}");
        assert_eq!(code, NEEDS_OPERATOR, "{case}");
        assert!(log.contains("Restore a backup"), "{case}");
        assert!(!log.contains("a panic"), "{case}");
        assert!(!log.contains("ready"), "{case}");
    }
}

fn read_files(folder: &Path) -> HashMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Both daemons have the same store id, so both own the queue: without the fencing token, each
/// would treat the processing lists of the other as its own.
#[test]
fn a_daemon_on_a_copy_of_the_workdir_fences_out_the_first() {
    let redis = RedisServer::start();
    let mut first = Daemon::start(&redis, &[]);
    assert!(first.stop().success());
    let copy = Arc::new(tempfile::tempdir().unwrap());
    let copied = Command::new("cp")
        .arg("-r")
        .args([first.workdir(), copy.path().join("workdir")])
        .status();
    assert!(copied.unwrap().success());

    first.restart();
    redis.client().call("get_users", json!({})).ok();
    let _second = Daemon::start_in(copy, &redis, &[("DEVICE_ID", "second")]);
    first.wait_for_log("by another run of this store");
    for _ in 0..20 {
        let reply = redis.client().call("get_users", json!({}));
        assert_eq!(reply.0["origin"], "second");
    }
}
