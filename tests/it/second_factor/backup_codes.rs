//! Backup codes: the second factor of a user without the authenticator app.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Enrolled, create, texts};
use crate::support::{Client, Setup};

const CODES: usize = 10;

fn refresh(client: &mut Client, code: impl Into<Value>) -> crate::support::Reply {
    client.call(
        "refresh_backup_codes",
        json!(["alice", "secret", code.into()]),
    )
}

/// Asserts that there are ten different codes, each of 16 base32 characters.
#[track_caller]
fn assert_ten(codes: &[String]) {
    assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), CODES);
    for code in codes {
        let of_base32 = |c| matches!(c, b'A'..=b'Z' | b'2'..=b'7');
        assert!(code.len() == 16 && code.bytes().all(of_base32), "{code}");
    }
}

#[test]
fn a_code_is_accepted_once_and_only_for_its_user() {
    let mut setup = Setup::with_alice(&[]);
    let session = setup.session_of_alice();
    let client = &mut setup.client;
    create(client, "bob", &session);
    let alice = Enrolled::new(client, "alice");
    let bob = Enrolled::new(client, "bob");
    assert_ten(&alice.backup_codes);
    for code in &alice.backup_codes {
        bob.assert_rejected(client, code);
        alice.assert_accepted(client, code);
        alice.assert_rejected(client, code);
    }
    bob.assert_accepted(client, &bob.backup_codes[9]);
}

#[test]
fn backup_codes_and_authenticator_codes_are_independent() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let alice = Enrolled::new(client, "alice");
    alice.assert_accepted(client, &alice.backup_codes[0]);
    alice.assert_accepted(client, &alice.codes.next());
    alice.assert_accepted(client, &alice.backup_codes[1]);
}

#[test]
fn every_action_with_a_code_accepts_a_backup_code() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let alice = Enrolled::new(client, "alice");
    let [login, change, end, refresh, off] = &alice.backup_codes[..5] else {
        panic!("ten codes");
    };
    let uses = [
        ("create_session", json!(["alice", "secret", login])),
        (
            "update_password",
            json!(["alice", "secret", "secret", change]),
        ),
        ("delete_sessions", json!(["alice", "secret", end])),
        ("refresh_backup_codes", json!(["alice", "secret", refresh])),
    ];
    for (action, args) in uses {
        let refused = |reply: &crate::support::Reply| {
            reply.output() == &json!(false) || reply.errors() == ["invalid_otp_code"]
        };
        let first = client.call(action, args.clone());
        assert!(!refused(&first), "{action}: {first:?}");
        let again = client.call(action, args);
        assert!(refused(&again), "{action} again: {again:?}");
    }
    let off = json!(["alice", "secret", off]);
    client.call("disable_otp", off).fails("invalid_otp_code");
}

/// Users write codes down in groups and in lower case.
#[test]
fn case_and_separators_are_ignored() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let alice = Enrolled::new(client, "alice");
    let spelled = |code: &str, separator: &str| {
        let code = code.to_lowercase();
        [&code[..4], &code[4..8], &code[8..12], &code[12..]].join(separator)
    };
    for (code, separator) in alice.backup_codes.iter().zip([" ", "-"]) {
        alice.assert_accepted(client, &spelled(code, separator));
        alice.assert_rejected(client, code);
    }
}

#[test]
fn new_codes_replace_all_old_codes() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let alice = Enrolled::new(client, "alice");
    let code = alice.codes.next();
    let new = texts(refresh(client, code.as_str()).ok());
    assert_ten(&new);
    for old in &alice.backup_codes {
        alice.assert_rejected(client, old);
    }
    // The code in the request is used up.
    alice.assert_rejected(client, &code);
    // Also with a backup code in the request.
    let newer = texts(refresh(client, new[0].as_str()).ok());
    assert_ten(&newer);
    for old in &new {
        alice.assert_rejected(client, old);
    }
    for code in &newer {
        alice.assert_accepted(client, code);
    }
}

#[test]
fn new_codes_need_a_code() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    refresh(client, "123456").fails("2FA is not enabled for alice");
    let alice = Enrolled::new(client, "alice");
    refresh(client, Value::Null).fails("missing_otp_code");
    refresh(client, alice.codes.wrong()).fails("invalid_otp_code");
    let wrong = json!(["alice", "wrong", alice.backup_codes[0]]);
    let reply = client.call("refresh_backup_codes", wrong);
    reply.fails("Invalid credentials");
    for code in &alice.backup_codes {
        alice.assert_accepted(client, code);
    }
}
