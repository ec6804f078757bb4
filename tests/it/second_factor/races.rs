//! No code is accepted twice: not by simultaneous requests, not over a crash between them, and not
//! by a redelivered request.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::Enrolled;
use crate::support::{Client, Daemon, Reply, Setup, wait_until_closed};

const RACERS: usize = 100;
/// As many hashing threads as simultaneous requests, so that all reach the writer with
/// preconditions from before the first write.
const WIDE: (&str, &str) = ("PASSWORD__THREADS", "100");
/// One login at a time, some milliseconds each, so that the first is answered long before the last
/// is run.
const ONE_BY_ONE: [(&str, &str); 2] =
    [("PASSWORD__THREADS", "1"), ("PASSWORD__MEMORY_KIB", "1024")];

/// Pushes logins of alice with the same code through two actions, with one command.
fn push_logins(client: &mut Client, code: &str) -> Vec<String> {
    let login = |n: usize| {
        let action = ["authenticate_user", "create_session"][n % 2];
        (action, json!(["alice", "secret", code]))
    };
    client.send_all((0..RACERS).map(login))
}

/// Returns whether a login succeeded, and asserts that a failure is due to the code.
#[track_caller]
fn is_success(reply: &Reply) -> bool {
    if reply.errors() == ["invalid_otp_code"] {
        assert_eq!(reply.output(), &json!({"success": false}));
        return false;
    }
    reply.ok() != &json!(false)
}

/// Asserts that each request gets exactly one reply and that exactly one of them is a success.
#[track_caller]
fn assert_one_success(setup: &mut Setup, ids: &[String]) {
    let replies: Vec<_> = ids.iter().map(|id| setup.client.reply(id)).collect();
    let winners: Vec<_> = replies.iter().filter(|reply| is_success(reply)).collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    if let Value::String(token) = &winners[0].output()["session_token"] {
        let session = json!([token]);
        setup.client.call("authenticate_session", session).ok();
    }
    // A reply to a new request shows that recovery is complete.
    setup.client.call("get_users", json!({})).ok();
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
    setup.daemon.restart();
}

/// Source of a code.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Authenticator,
    Backup,
}

impl Kind {
    fn code_of(self, alice: &Enrolled) -> String {
        match self {
            Self::Authenticator => alice.codes.next(),
            Self::Backup => alice.backup_codes[0].clone(),
        }
    }
}

fn one_of_many_succeeds(kind: Kind) {
    let mut setup = Setup::with_alice(&[WIDE]);
    let alice = Enrolled::new(&mut setup.client, "alice");
    let code = kind.code_of(&alice);
    let ids = push_logins(&mut setup.client, &code);
    assert_one_success(&mut setup, &ids);
    alice.assert_rejected(&mut setup.client, &code);
}

#[test]
fn one_of_many_logins_with_the_same_code_succeeds() {
    one_of_many_succeeds(Kind::Authenticator);
}

#[test]
fn one_of_many_logins_with_the_same_backup_code_succeeds() {
    one_of_many_succeeds(Kind::Backup);
}

/// Kills the daemon after 0, 1, 2, 10 and 40 logins have been answered.
fn one_of_many_succeeds_over_kill_9(kind: Kind) {
    let mut setup = Setup::with_alice(&ONE_BY_ONE);
    let client = &mut setup.client;
    let alice = Enrolled::new(client, "alice");
    let code = kind.code_of(&alice);
    let ids = push_logins(client, &code);
    let mut killed_midway = false;
    for answered in [0, 1, 2, 10, 40] {
        if answered > 0 {
            setup.client.await_reply(&ids[answered - 1]);
        }
        setup.daemon.kill();
        let replies = setup.client.answered(ids.iter().map(|id| &**id)).len();
        killed_midway |= (1..RACERS).contains(&replies);
        setup.daemon.restart();
    }
    assert!(killed_midway, "{kind:?}: no kill came between two replies");
    assert_one_success(&mut setup, &ids);
    alice.assert_rejected(&mut setup.client, &code);
}

#[test]
fn one_of_many_logins_with_the_same_code_succeeds_over_kill_9() {
    one_of_many_succeeds_over_kill_9(Kind::Authenticator);
}

#[test]
fn one_of_many_logins_with_the_same_backup_code_succeeds_over_kill_9() {
    one_of_many_succeeds_over_kill_9(Kind::Backup);
}

/// Crashes the daemon at `point` while one login is in flight and asserts that the redelivered
/// login succeeds. Returns the log after the restart.
fn a_redelivered_login_succeeds(point: &str, action: &str, kind: Kind) -> String {
    let mut setup = Setup::with_alice(&[]);
    let alice = Enrolled::new(&mut setup.client, "alice");
    assert!(setup.daemon.stop().success());
    wait_until_closed(&setup.daemon.workdir());
    let code = kind.code_of(&alice);
    let login = setup.client.send(action, json!(["alice", "secret", code]));
    let folder = setup.daemon.folder();
    let mut crashing = Daemon::launch(folder, &setup.redis, &[], |mut command| {
        command.env("USERD_CRASH_AT", format!("{point}:1"));
        command
    });
    assert_eq!(crashing.wait().signal(), Some(Signal::ABORT.as_raw()));
    wait_until_closed(&setup.daemon.workdir());

    setup.daemon.restart();
    let reply = setup.client.reply(&login);
    assert!(is_success(&reply), "{point}, {action}, {kind:?}: {reply:?}");
    if let Value::String(token) = &reply.output()["session_token"] {
        let session = json!([token]);
        setup.client.call("authenticate_session", session).ok();
    }
    alice.assert_rejected(&mut setup.client, &code);
    setup.daemon.log()
}

/// A login that had its effect is not run again: its code is already used.
#[test]
fn a_login_whose_effect_is_on_disk_is_answered_from_its_outcome() {
    for (point, action, kind) in [
        ("after flush", "create_session", Kind::Authenticator),
        ("after flush", "authenticate_user", Kind::Backup),
        ("before reply", "authenticate_user", Kind::Authenticator),
        ("before reply", "create_session", Kind::Backup),
    ] {
        let log = a_redelivered_login_succeeds(point, action, kind);
        assert!(log.contains("answered from the recorded outcome"), "{log}");
    }
}

#[test]
fn a_login_interrupted_before_its_effect_is_on_disk_succeeds() {
    for point in ["before commit", "after commit"] {
        for (action, kind) in [
            ("create_session", Kind::Authenticator),
            ("authenticate_user", Kind::Backup),
        ] {
            a_redelivered_login_succeeds(point, action, kind);
        }
    }
}
