//! What somebody is answered whose name is not tried.

use serde_json::{Value, json};

use super::{FIVE, HUNDRED, NAMES, assert_waits_an_hour, fail_now, seconds_to_wait};
use crate::support::{Codes, Setup};

/// A call of each action that takes a password, in each form of answer: with
/// its output where the credentials of `name` are wrong.
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
fn the_error_stands_beside_what_wrong_credentials_get() {
    let mut setup = Setup::with_alice(&[FIVE]);
    fail_now(&mut setup, &NAMES, 100);
    for name in NAMES {
        // The right password is not tried either.
        for password in ["wrong", "secret"] {
            for (action, args, output) in calls(name, password, &json!("123456")) {
                let reply = setup.client.call(action, args);
                assert_eq!(reply.output(), &output, "{action} for {name}");
                assert_waits_an_hour(&reply);
            }
        }
    }
}

#[test]
fn each_wrong_password_counts_whatever_it_was_for() {
    let mut setup = Setup::with_alice(&[HUNDRED]);
    for name in NAMES {
        fail_now(
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
        assert_waits_an_hour(&setup.client.call(action, args));
    }
}

#[test]
fn sessions_are_not_affected() {
    let mut setup = Setup::with_alice(&[FIVE]);
    let [token, other] = [(); 2].map(|()| setup.session_of_alice());
    fail_now(&mut setup, &["alice"], 100);
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
fn names_do_not_wait_for_each_other() {
    let mut setup = Setup::with_alice(&[FIVE]);
    fail_now(&mut setup, &["nobody", "Alice", "alice "], 100);
    let login = setup
        .client
        .call("authenticate_user", json!(["alice", "secret"]));
    assert_eq!(login.ok(), true);
    fail_now(&mut setup, &["alice"], 100);
    let other = setup
        .client
        .call("authenticate_user", json!(["someone", "wrong"]));
    assert_eq!(other.ok(), false);
}
