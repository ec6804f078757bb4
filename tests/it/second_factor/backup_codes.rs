//! Codes for the day when the phone is lost.

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

/// Asserts that these are ten different codes of 16 characters of base32.
#[track_caller]
fn assert_ten(codes: &[String]) {
    assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), CODES);
    for code in codes {
        let of_base32 = |c| matches!(c, b'A'..=b'Z' | b'2'..=b'7');
        assert!(code.len() == 16 && code.bytes().all(of_base32), "{code}");
    }
}

#[test]
fn each_is_good_once_for_its_user_alone() {
    let mut setup = Setup::with_alice(&[]);
    let session = setup.session_of_alice();
    let client = &mut setup.client;
    create(client, "bob", &session);
    let alice = Enrolled::new(client, "alice");
    let bob = Enrolled::new(client, "bob");
    assert_ten(&alice.backup_codes);
    for code in &alice.backup_codes {
        bob.assert_no_good(client, code);
        alice.assert_good(client, code);
        alice.assert_no_good(client, code);
    }
    bob.assert_good(client, &bob.backup_codes[9]);
}

#[test]
fn they_and_the_authenticator_do_not_use_each_other_up() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let alice = Enrolled::new(client, "alice");
    alice.assert_good(client, &alice.backup_codes[0]);
    alice.assert_good(client, &alice.codes.next());
    alice.assert_good(client, &alice.backup_codes[1]);
}

#[test]
fn they_are_good_wherever_a_code_is_asked_for() {
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

/// As people write them down: in groups, in lower case. It is the same code.
#[test]
fn their_spelling_does_not_matter() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let alice = Enrolled::new(client, "alice");
    let spelled = |code: &str, between: &str| {
        let code = code.to_lowercase();
        [&code[..4], &code[4..8], &code[8..12], &code[12..]].join(between)
    };
    for (code, between) in alice.backup_codes.iter().zip([" ", "-"]) {
        alice.assert_good(client, &spelled(code, between));
        alice.assert_no_good(client, code);
    }
}

#[test]
fn new_ones_take_the_place_of_all_old_ones() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let alice = Enrolled::new(client, "alice");
    let code = alice.codes.next();
    let new = texts(refresh(client, code.as_str()).ok());
    assert_ten(&new);
    for old in &alice.backup_codes {
        alice.assert_no_good(client, old);
    }
    // The code that it took is spent.
    alice.assert_no_good(client, &code);
    // Also when it is one of them.
    let newer = texts(refresh(client, new[0].as_str()).ok());
    assert_ten(&newer);
    for old in &new {
        alice.assert_no_good(client, old);
    }
    for code in &newer {
        alice.assert_good(client, code);
    }
}

#[test]
fn new_ones_need_a_code() {
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
        alice.assert_good(client, code);
    }
}
