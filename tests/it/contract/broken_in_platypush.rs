//! The contract's table "Documented, and broken in Platypush 1.3.39": one test per row, named
//! after the documented behaviour.

use serde_json::json;

use super::shape::{TIME, TOKEN, assert_shape};
use super::stage::enable_second_factor;
use super::{is_password, log_in};
use crate::support::{Codes, Setup};

#[test]
fn first_user_needs_no_authentication() {
    let mut setup = Setup::new();
    let args = json!({"username": "alice", "password": "secret"});
    let user = setup.client.call("create_user", args);
    let expected = json!({"user_id": 1, "username": "alice", "created_at": TIME});
    assert_shape(user.ok(), &expected);
}

#[test]
fn authenticate_user_distinguishes_right_and_wrong_passwords() {
    let mut setup = Setup::with_alice(&[]);
    assert!(is_password(&mut setup.client, "alice", "secret"));
    assert!(!is_password(&mut setup.client, "alice", "wrong"));
}

#[test]
fn return_details_of_a_right_password() {
    let mut setup = Setup::with_alice(&[]);
    let args = json!({"username": "alice", "password": "secret", "return_details": true});
    let reply = setup.client.call("authenticate_user", args);
    assert_eq!(reply.ok(), &json!([true, ""]));
}

#[test]
fn create_session_works_and_returns_the_username() {
    let mut setup = Setup::with_alice(&[]);
    let session = setup
        .client
        .call("create_session", json!(["alice", "secret"]));
    let expected = json!({"session_token": TOKEN, "user_id": 1, "username": "alice",
        "created_at": TIME, "expires_at": null});
    assert_shape(session.ok(), &expected);
}

#[test]
fn neither_look_up_accepts_expired_sessions() {
    let mut setup = Setup::with_alice(&[]);
    let args = json!({"username": "alice", "password": "secret", "expires_at": 1});
    let session = setup.client.call("create_session", args);
    let token = &session.ok()["session_token"];
    let reply = setup.client.call("authenticate_session", json!([token]));
    reply.fails("Invalid session token");
    let reply = setup.client.call("get_user_by_session", json!([token]));
    reply.fails("No user associated with the specified session token");
}

/// Platypush sends such a password as an integer.
#[test]
fn a_password_of_digits() {
    let mut setup = Setup::new();
    let args = json!({"username": "alice", "password": 123_456});
    setup.client.call("create_user", args).ok();
    assert!(is_password(&mut setup.client, "alice", "123456"));
}

#[test]
fn update_password_to_an_empty_password_is_refused() {
    let mut setup = Setup::with_alice(&[]);
    let args = json!(["alice", "secret", ""]);
    let reply = setup.client.call("update_password", args);
    reply.fails("Please provide a password for the user");
    assert!(!is_password(&mut setup.client, "alice", ""));
    assert!(is_password(&mut setup.client, "alice", "secret"));
}

#[test]
fn users_with_tokens_or_a_second_factor_can_be_deleted() {
    let mut setup = Setup::with_alice(&[]);
    let admin = log_in(&mut setup.client, "alice", "secret");
    let args = json!({"username": "bob", "password": "secret", "session_token": admin});
    setup.client.call("create_user", args).ok();
    let of_bob = log_in(&mut setup.client, "bob", "secret");
    enable_second_factor(&mut setup, &["bob"]);

    let args = json!({"username": "bob", "session_token": of_bob});
    assert_eq!(setup.client.call("delete_user", args).ok(), &json!(true));
    let users = setup.client.call("get_users", json!({}));
    assert_eq!(users.ok().as_array().unwrap().len(), 1);
}

#[test]
fn update_password_of_a_user_with_a_second_factor() {
    let mut setup = Setup::with_alice(&[]);
    enable_second_factor(&mut setup, &["alice"]);
    let args = json!({"username": "alice", "old_password": "secret",
        "new_password": "hunter2", "code": Codes::of("alice").now()});
    let reply = setup.client.call("update_password", args);
    assert_eq!(reply.ok(), &json!(true));
}

/// The number means the same time in every time zone of the daemon.
#[test]
fn expires_at_as_a_number_is_utc() {
    let mut setup = Setup::with_alice(&[]);
    let args = json!({"username": "alice", "password": "secret", "expires_at": 1_925_000_000});
    let session = setup.client.call("create_session", args);
    let expires_at = &session.ok()["expires_at"];
    assert_eq!(expires_at, "2031-01-01T02:13:20.000000");
}
