//! Replies to throttled requests.

use serde_json::{Value, json};

use super::{
    FIVE, HUNDRED, NAMES, add_recent_failures, assert_throttled_for_an_hour, seconds_to_wait,
};
use crate::support::{Codes, Setup};

/// Returns calls of every action that takes a password, in each form of output, with the output for
/// wrong credentials.
pub fn calls(name: &str, password: &str, code: &Value) -> Vec<(&'static str, Value, Value)> {
    let failed = || json!({"success": false});
    let secret = Codes::of("new").0.to_base32();
    let mut as_executor = json!({
        "username": "new", "executing_user": name, "executing_user_password": password,
    });
    let delete = as_executor.clone();
    as_executor["password"] = json!("x");
    vec![
        (
            "authenticate_user",
            json!([name, password, code]),
            json!(false),
        ),
        (
            "authenticate_user",
            json!([name, password, code, true]),
            json!([false, "invalid_credentials"]),
        ),
        (
            "update_password",
            json!([name, password, "new", code]),
            json!(false),
        ),
        ("create_session", json!([name, password, code]), failed()),
        ("create_user", as_executor, failed()),
        ("delete_user", delete, failed()),
        (
            "enable_otp",
            json!({"username": name, "password": password, "dry_run": true}),
            failed(),
        ),
        (
            "enable_otp",
            json!([name, password, secret.as_str(), "123456"]),
            failed(),
        ),
        ("disable_otp", json!([name, password, code]), failed()),
        (
            "refresh_backup_codes",
            json!([name, password, code]),
            failed(),
        ),
        ("delete_sessions", json!([name, password, code]), failed()),
    ]
}

#[test]
fn a_throttled_request_gets_the_output_of_wrong_credentials_and_an_error() {
    let mut setup = Setup::with_alice(&[FIVE]);
    add_recent_failures(&mut setup, &NAMES, 100);
    for name in NAMES {
        // The right password is not checked either.
        for password in ["wrong", "secret"] {
            for (action, args, output) in calls(name, password, &json!("123456")) {
                let reply = setup.client.call(action, args);
                assert_eq!(reply.output(), &output, "{action} for {name}");
                assert_throttled_for_an_hour(&reply);
            }
        }
    }
}

#[test]
fn a_wrong_password_counts_in_every_action() {
    let mut setup = Setup::with_alice(&[HUNDRED]);
    for name in NAMES {
        add_recent_failures(
            &mut setup,
            &[name],
            100 - calls(name, "", &Value::Null).len(),
        );
        for (action, args, output) in calls(name, "wrong", &Value::Null) {
            let reply = setup.client.call(action, args);
            assert_eq!(reply.output(), &output, "{action} for {name}");
            assert_eq!(seconds_to_wait(&reply), None, "{action} for {name}");
        }
        let (action, args) = super::guess(name);
        assert_throttled_for_an_hour(&setup.client.call(action, args));
    }
}

#[test]
fn sessions_are_not_throttled() {
    let mut setup = Setup::with_alice(&[FIVE]);
    let [token, other] = [(); 2].map(|()| setup.session_of_alice());
    add_recent_failures(&mut setup, &["alice"], 100);
    let by_session = json!({
        "username": "bob", "password": "x", "session_token": token,
        "executing_user": "alice", "executing_user_password": "secret",
    });
    let delete = json!({"username": "bob", "session_token": token});
    for (action, args) in [
        ("authenticate_session", json!([token])),
        ("get_user_by_session", json!([token])),
        ("get_sessions", json!([token])),
        ("delete_session", json!([other])),
        ("create_user", by_session),
        ("authenticate_user", json!(["bob", "x"])),
        ("delete_user", delete),
    ] {
        let reply = setup.client.call(action, args);
        assert_ne!(reply.ok(), false, "{action}");
    }
}

#[test]
fn names_are_throttled_independently() {
    let mut setup = Setup::with_alice(&[FIVE]);
    add_recent_failures(&mut setup, &["nobody", "Alice", "alice "], 100);
    let login = setup
        .client
        .call("authenticate_user", json!(["alice", "secret"]));
    assert_eq!(login.ok(), true);
    add_recent_failures(&mut setup, &["alice"], 100);
    let other = setup
        .client
        .call("authenticate_user", json!(["someone", "wrong"]));
    assert_eq!(other.ok(), false);
}
