//! The control socket, and what it leaves in the log.

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

/// Sends bytes to the socket of a daemon, all that there will be; gives what
/// comes back.
fn send(workdir: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(workdir.join("control.sock")).unwrap();
    // The daemon may hang up before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn is_its_owners_alone_and_goes_with_the_daemon() {
    let mut site = Site::new(Way::Daemon);
    let socket = site.setup.daemon.workdir().join("control.sock");
    let file = fs::metadata(&socket).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert!(site.setup.daemon.stop().success());
    assert!(!socket.exists());
}

#[test]
fn that_of_a_daemon_that_was_killed_is_in_nobodys_way() {
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
fn a_path_that_is_too_long_is_explained_at_the_start() {
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
fn rubbish_is_refused_and_not_repeated() {
    let mut site = Site::new(Way::Daemon);
    let workdir = site.setup.daemon.workdir();
    let too_long = [
        br#"{"unlock":{"name":""#,
        "hunter2".repeat(10_000).as_bytes(),
        b"\"}}\n",
    ]
    .concat();
    for rubbish in [
        &b"hunter2\n"[..],
        b"\n",
        b"\xff\x00\xff\n",
        br#""users""#,
        b"\"hunter2\"\n",
        b"{\"unlock\":{}}\n",
        b"{\"unlock\":{\"name\":\"alice\",\"password\":\"hunter2\"}}\n",
        b"\"users\"\n\"users\"\n",
        &too_long,
    ] {
        let answer = send(&workdir, rubbish);
        assert!(
            answer.contains("A command is one line of JSON"),
            "{rubbish:?}: {answer}"
        );
        assert!(!answer.contains("hunter2"), "{answer}");
    }
    assert_eq!(send(&workdir, b""), send(&workdir, b"{"));
    assert!(send(&workdir, b"\"users\"\n").contains("alice"));
    assert!(site.setup.daemon.stop().success());
    let log = site.setup.daemon.log();
    assert!(log.contains("what is no command"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn a_client_that_says_nothing_keeps_no_other() {
    let site = Site::new(Way::Daemon);
    let workdir = site.setup.daemon.workdir();
    let _silent: Vec<_> = (0..20)
        .map(|_| UnixStream::connect(workdir.join("control.sock")).unwrap())
        .collect();
    admin(&workdir, &["users"], "").ok();
}

/// Neither a daemon nor another command is in the way of one for long.
#[test]
fn commands_at_once_are_carried_out_one_after_the_other() {
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
            let mut said: Vec<_> = running.into_iter().map(|one| one.join().unwrap()).collect();
            said.sort();
            for (out, key) in said.iter().zip(2..) {
                assert!(out.starts_with(&format!("Key {key} seals now")), "{said:?}");
            }
        });
        let keys = fs::read_to_string(workdir.join("secret.keys")).unwrap();
        assert!(keys.starts_with("5 ") && keys.lines().count() == 1);
    }
}

#[test]
fn each_command_is_in_the_audit_trail_with_who_asked() {
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
    let about = |action: &str, rest: &str| {
        let action = format!("action=\"admin {action}\"");
        let mut lines = log.lines();
        let found = lines.any(|line| {
            let parts = [" INFO audit: ", &action, &by, rest];
            parts.iter().all(|part| line.contains(part))
        });
        assert!(found, "{action} {rest}:\n{log}");
    };
    about("reset-password", "user=\"alice\"");
    about(
        "reset-password",
        "keep_api_tokens=false outcome=\"success\"",
    );
    about("reset-password", "keep_api_tokens=true outcome=\"success\"");
    about("reset-password", "user=unknown:");
    about("reset-password", "outcome=\"no_such_user\"");
    about("rotate-key", "outcome=\"success\"");
    for secret in ["hunter2", "mistyped"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn without_a_daemon_the_audit_trail_is_on_standard_error() {
    let mut site = Site::new(Way::Store);
    let done = site.admin(&["delete-sessions", "alice"]);
    let uid = rustix::process::geteuid().as_raw();
    let expected = format!(
        "audit: action=\"admin delete-sessions\" user=\"alice\" by=\"uid {uid}\" outcome=\"success\""
    );
    assert!(done.err.contains(&expected), "{done:?}");
}

/// Root changes to the owner of the working directory, which is all that the
/// daemon sees of the one who asks.
#[test]
fn who_called_sudo_is_in_the_audit_trail() {
    for way in super::BOTH {
        let mut site = Site::new(way);
        let workdir = site.setup.daemon.workdir();
        if way == Way::Store {
            assert!(site.setup.daemon.stop().success());
        }
        let program = Command::new(Daemon::binary());
        let arguments = ["admin", "delete-sessions", "alice"];
        let done = run_with(program, &workdir, &arguments, "", &[("SUDO_UID", "4711")]);
        let log = done.err.clone();
        done.ok();
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

/// Names are clients' text.
#[test]
fn a_name_forges_neither_a_line_of_the_log_nor_of_the_list() {
    let mut site = Site::new(Way::Daemon);
    let name = "eve\n2026-01-01T00:00:00Z  INFO audit: forged\x1b[2J";
    // As an older version let one in.
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
