//! Changing passwords.

use serde_json::json;

use super::{is_password, log_in};
use crate::support::Setup;

#[test]
fn update_password_sets_the_password_and_keeps_sessions() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let session = log_in(client, "alice", "secret");
    let update = client.call("update_password", json!(["alice", "secret", "hunter2"]));
    assert_eq!(update.ok(), &json!(true));
    assert!(is_password(client, "alice", "hunter2"));
    assert!(!is_password(client, "alice", "secret"));
    let login = client.call("create_session", json!(["alice", "secret"]));
    login.fails("Invalid credentials");
    client.call("authenticate_session", json!([session])).ok();
}

#[test]
fn revoke_sessions_ends_all_sessions() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let old: Vec<_> = (0..2).map(|_| log_in(client, "alice", "secret")).collect();
    let args = json!({"username": "bob", "password": "secret", "session_token": old[0]});
    client.call("create_user", args).ok();
    let of_bob = log_in(client, "bob", "secret");
    let args = json!({"username": "alice", "old_password": "secret",
        "new_password": "hunter2", "revoke_sessions": true});
    assert_eq!(client.call("update_password", args).ok(), &json!(true));

    for session in old {
        let reply = client.call("authenticate_session", json!([session]));
        reply.fails("Invalid session token");
        let reply = client.call("get_user_by_session", json!([session]));
        reply.fails("No user associated with the specified session token");
        let args = json!({"username": "alice", "session_token": session});
        let reply = client.call("delete_user", args);
        reply.fails("Invalid credentials and/or session_token");
        let reply = client.call("delete_session", json!([session]));
        assert_eq!(reply.ok(), &json!(false));
    }
    client.call("authenticate_session", json!([of_bob])).ok();
    let new = log_in(client, "alice", "hunter2");
    client.call("authenticate_session", json!([new])).ok();
}

/// A refused change leaves password and sessions as they were.
#[test]
fn a_refused_update_changes_nothing() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let session = log_in(client, "alice", "secret");
    for args in [
        json!(["alice", "wrong", "hunter2", null, true]),
        json!(["alice", "", "hunter2", null, true]),
        json!(["Alice", "secret", "hunter2", null, true]),
        json!(["alice", "secret", "", null, true]),
        json!(["alice", "secret", "hunter2", null, "true"]),
    ] {
        let reply = client.call("update_password", args);
        assert_ne!(reply.output(), &json!(true));
    }
    assert!(is_password(client, "alice", "secret"));
    assert!(!is_password(client, "alice", "hunter2"));
    client.call("authenticate_session", json!([session])).ok();
}

/// Passwords are not trimmed, truncated, case-folded or normalised.
#[test]
fn passwords_are_compared_byte_for_byte() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let mut old = "secret".to_owned();
    let long = "x".repeat(200);
    for (password, others) in [
        (" spaced ", [" spaced", "spaced"]),
        ("a\0b", ["a", "a\0c"]),
        ("é", ["e\u{301}", "e"]),
        ("CaSe", ["case", "CASE"]),
        ("😀", ["😁", "?"]),
        (&long, [&long[1..], &long[100..]]),
    ] {
        let update = client.call("update_password", json!(["alice", old, password]));
        assert_eq!(update.ok(), &json!(true));
        assert!(is_password(client, "alice", password), "{password:?}");
        for other in others {
            assert!(!is_password(client, "alice", other), "{other:?}");
        }
        password.clone_into(&mut old);
    }
}
