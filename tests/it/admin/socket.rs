//! The control socket, and the log and audit trail of commands on it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::{Site, Way, admin, run_with};
use crate::sled_files::add_users;
use crate::support::{Daemon, RedisServer};

/// Returns a frame of the control socket: the length of a value and the value.
fn frame(value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap();
    [&length.to_be_bytes(), value].concat()
}

/// Sends bytes to the daemon's socket, closes the sending half and returns the answer.
fn send(workdir: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(workdir.join("control.sock")).unwrap();
    // The daemon may close the connection before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer.drain(..answer.len().min(4));
    String::from_utf8(answer).unwrap()
}

#[test]
fn is_accessible_to_its_owner_only_and_removed_on_stop() {
    let mut site = Site::new(Way::Daemon);
    let socket = site.setup.daemon.workdir().join("control.sock");
    let file = fs::metadata(&socket).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert!(site.setup.daemon.stop().success());
    assert!(!socket.exists());
}

#[test]
fn a_socket_left_by_a_killed_daemon_is_replaced() {
    let mut site = Site::new(Way::Daemon);
    site.setup.daemon.kill();
    let workdir = site.setup.daemon.workdir();
    assert!(workdir.join("control.sock").exists());
    admin(&workdir, &["delete-sessions", "alice"], "").ok();
    site.setup.daemon.restart();
    admin(&workdir, &["users"], "").ok();
    site.setup.daemon.wait_for_log("admin users");
}

#[test]
fn the_log_explains_a_socket_path_that_is_too_long() {
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let workdir = folder.path().join("x".repeat(108));
    let settings = [("WORKDIR", workdir.to_str().unwrap())];
    let mut daemon = Daemon::launch(folder, &redis, &settings, |command| command);
    assert_eq!(daemon.wait().code(), Some(78));
    let log = daemon.log();
    assert!(log.contains("workdir with a shorter path"), "{log}");
}

#[test]
fn an_invalid_command_is_refused_and_not_echoed() {
    let mut site = Site::new(Way::Daemon);
    let workdir = site.setup.daemon.workdir();
    let too_long = [
        br#"{"command":{"unlock":{"name":""#,
        "hunter2".repeat(10_000).as_bytes(),
        br#""}}}"#,
    ]
    .concat();
    for invalid in [
        &b"hunter2"[..],
        b"",
        b"\xff\x00\xff",
        br#""users""#,
        br#"{"command":"hunter2"}"#,
        br#"{"command":{"unlock":{}}}"#,
        br#"{"command":{"unlock":{"name":"alice","password":"hunter2"}}}"#,
        br#"{"command":"users","sudo_uid":"hunter2"}"#,
        br#"{"command":"users"}{"command":"users"}"#,
        &too_long,
    ] {
        let answer = send(&workdir, &frame(invalid));
        assert!(
            answer.contains("a command is one frame of JSON"),
            "{invalid:?}: {answer}"
        );
        assert!(!answer.contains("hunter2"), "{answer}");
    }
    // The beginning of a line of an earlier version, taken for a length, is too long.
    let answer = send(&workdir, br#""users""#);
    assert!(answer.contains("a command is one frame"), "{answer}");
    for incomplete in [&b""[..], b"\0", b"\0\0\0\x09{"] {
        assert_eq!(send(&workdir, incomplete), "", "{incomplete:?}");
    }
    assert!(send(&workdir, &frame(br#"{"command":"users"}"#)).contains("alice"));
    assert!(site.setup.daemon.stop().success());
    let log = site.setup.daemon.log();
    assert!(log.contains("received an invalid command"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn silent_clients_do_not_block_commands() {
    let site = Site::new(Way::Daemon);
    let workdir = site.setup.daemon.workdir();
    let _silent: Vec<_> = (0..20)
        .map(|_| UnixStream::connect(workdir.join("control.sock")).unwrap())
        .collect();
    admin(&workdir, &["users"], "").ok();
}

/// A command waits for other commands instead of failing.
#[test]
fn concurrent_commands_run_one_after_the_other() {
    for way in super::BOTH {
        let mut site = Site::new(way);
        let workdir = site.setup.daemon.workdir();
        if way == Way::Store {
            assert!(site.setup.daemon.stop().success());
        }
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| admin(&workdir, &["rotate-key"], "").ok()))
                .collect();
            let mut outputs: Vec<_> = running
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect();
            outputs.sort();
            for (out, key) in outputs.iter().zip(2..) {
                assert!(
                    out.starts_with(&format!("Rotated to key {key}: ")),
                    "{outputs:?}"
                );
            }
        });
        let keys = fs::read_to_string(workdir.join("secret.keys")).unwrap();
        assert!(keys.starts_with("5 ") && keys.lines().count() == 1);
    }
}

#[test]
fn the_audit_trail_names_the_uid_behind_each_command() {
    let mut site = Site::new(Way::Daemon);
    let uid = rustix::process::geteuid().as_raw();
    let by = format!("by=\"uid {uid}\"");
    site.admin_with_input(&["reset-password", "alice"], "hunter2\n")
        .ok();
    let refused = site.admin_with_input(&["reset-password", "mistyped"], "hunter2\n");
    refused.fails("No such user: mistyped");
    let keep = ["reset-password", "alice", "--keep-api-tokens"];
    site.admin_with_input(&keep, "hunter2\n").ok();
    site.admin(&["rotate-key"]).ok();
    assert!(site.setup.daemon.stop().success());

    let log = site.setup.daemon.log();
    let assert_logged = |action: &str, rest: &str| {
        let action = format!("action=\"admin {action}\"");
        let mut lines = log.lines();
        let found = lines.any(|line| {
            let parts = [" INFO audit: ", &action, &by, rest];
            parts.iter().all(|part| line.contains(part))
        });
        assert!(found, "{action} {rest}:\n{log}");
    };
    assert_logged("reset-password", "user=\"alice\"");
    assert_logged(
        "reset-password",
        "keep_api_tokens=false outcome=\"success\"",
    );
    assert_logged("reset-password", "keep_api_tokens=true outcome=\"success\"");
    assert_logged("reset-password", "user=unknown:");
    assert_logged("reset-password", "outcome=\"no_such_user\"");
    assert_logged("rotate-key", "outcome=\"success\"");
    for secret in ["hunter2", "mistyped"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn without_a_daemon_the_audit_trail_is_on_standard_error() {
    let mut site = Site::new(Way::Store);
    let output = site.admin(&["delete-sessions", "alice"]);
    let uid = rustix::process::geteuid().as_raw();
    let expected = format!(
        "audit: action=\"admin delete-sessions\" user=\"alice\" by=\"uid {uid}\" outcome=\"success\""
    );
    assert!(output.err.contains(&expected), "{output:?}");
}

/// A command of root changes to the owner of the working directory, so the daemon sees only the
/// owner's uid.
#[test]
fn the_audit_trail_names_the_caller_of_sudo() {
    for way in super::BOTH {
        let mut site = Site::new(way);
        let workdir = site.setup.daemon.workdir();
        if way == Way::Store {
            assert!(site.setup.daemon.stop().success());
        }
        let program = Command::new(Daemon::binary());
        let arguments = ["admin", "delete-sessions", "alice"];
        let output = run_with(program, &workdir, &arguments, "", &[("SUDO_UID", "4711")]);
        let log = output.err.clone();
        output.ok();
        let log = match way {
            Way::Store => log,
            Way::Daemon => {
                assert!(site.setup.daemon.stop().success());
                site.setup.daemon.log()
            }
        };
        let uid = rustix::process::geteuid().as_raw();
        let expected = format!("by=\"uid {uid}\" claimed_sudo_uid=4711 outcome=\"success\"");
        assert!(log.contains(&expected), "{log}");
    }
}

/// Clients choose the names of users.
#[test]
fn a_name_forges_neither_a_log_line_nor_a_line_of_the_list() {
    let mut site = Site::new(Way::Daemon);
    let name = "eve\n2026-01-01T00:00:00Z  INFO audit: forged\x1b[2J";
    // Older versions accepted such names.
    let workdir = site.setup.daemon.workdir();
    assert!(site.setup.daemon.stop().success());
    add_users(&workdir, &[name]);
    site.setup.daemon.restart();
    site.admin(&["delete-sessions", name]).ok();
    let table = site.admin(&["users"]).ok();
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(
        table.contains(r"eve\n2026") && !table.contains('\x1b'),
        "{table}"
    );
    assert!(site.setup.daemon.stop().success());
    let log = site.setup.daemon.log();
    assert!(log.contains(r"eve\n2026"), "{log}");
    assert!(
        !log.lines().any(|line| line.starts_with("2026-01-01T")),
        "{log}"
    );
}
