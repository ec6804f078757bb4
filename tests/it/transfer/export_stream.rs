//! Exports while their reader is slow or gone.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::export::Export;
use super::{Node, import, usernames};
use crate::admin::{BOTH, Way};
use crate::support::{Daemon, Setup};

/// Returns the command `export` on a working directory, with its output in a pipe.
fn export_command(workdir: &Path) -> Command {
    let mut command = Command::new(Daemon::binary());
    command
        .arg("export")
        .env_clear()
        .env("PLATYPUSH_USERD_WORKDIR", workdir)
        .stdout(Stdio::piped());
    command
}

/// Regression: without a daemon, an export whose reader had gone waited without end and kept the
/// working directory locked. With one, it was not in the audit trail.
#[test]
fn an_export_ends_with_its_reader_and_is_in_the_audit_trail() {
    let node = Node::with_more_users(1_000);
    for way in BOTH {
        let mut setup = Setup::new();
        import(&mut setup, Way::Daemon, &node, &[]).ok();
        if way == Way::Store {
            assert!(setup.daemon.stop().success());
        }
        let mut child = export_command(&setup.daemon.workdir())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("cannot write the export"), "{error}");
        let trail = match way {
            Way::Store => error,
            Way::Daemon => setup.daemon.log(),
        };
        assert!(trail.contains("action=\"export\""), "{trail}");
    }
}

/// A user may be created during an export. The daemon reads on only as its client does, so that most
/// of the store is unread when the first line has arrived.
#[test]
fn a_number_assigned_during_an_export_is_not_assigned_again() {
    let node = Node::with_more_users(1_000);
    let mut from = Setup::with_alice(&[]);
    import(&mut from, Way::Daemon, &node, &[]).ok();
    let workdir = from.daemon.workdir();
    let mut child = export_command(&workdir).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    reader.read_line(&mut text).unwrap();
    let bob = json!({"username": "bob", "password": "secret",
        "executing_user": "alice", "executing_user_password": "secret"});
    let id = from.client.call("create_user", bob).ok()["user_id"]
        .as_u64()
        .unwrap();
    let token = json!({"username": "bob", "password": "secret"});
    let token_id = from.client.call("create_api_token", token).ok()["id"]
        .as_u64()
        .unwrap();
    reader.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    let export = Export {
        folder: tempfile::tempdir().unwrap(),
        text,
    };
    fs::copy(workdir.join("secret.keys"), export.keys()).unwrap();
    let mut to = Setup::new();
    export.import_into(&mut to, Way::Store, &[]).ok();
    assert!(usernames(&mut to).iter().any(|name| name == "bob"));
    let carol = json!({"username": "carol", "password": "secret",
        "executing_user": "bob", "executing_user_password": "secret"});
    assert_eq!(to.client.call("create_user", carol).ok()["user_id"], id + 1);
    let token = json!({"username": "bob", "password": "secret"});
    assert_eq!(
        to.client.call("create_api_token", token).ok()["id"],
        token_id + 1
    );
}
