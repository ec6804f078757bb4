//! Users with a second factor: properties that need more than one call.

use serde_json::{Value, json};

use super::log_in;
use super::stage::enable_second_factor;
use crate::support::{Codes, Setup};

const OTTO: &str = "otto";
/// A second user with a second factor.
const PAUL: &str = "paul";

/// Starts a daemon with `alice` and two users with a second factor. All have the password
/// `secret`.
fn setup() -> Setup {
    let mut setup = Setup::with_alice(&[]);
    let session = log_in(&mut setup.client, "alice", "secret");
    for name in [OTTO, PAUL] {
        let args = json!({"username": name, "password": "secret", "session_token": session});
        setup.client.call("create_user", args).ok();
    }
    enable_second_factor(&mut setup, &[OTTO, PAUL]);
    setup
}

/// Returns the details of `authenticate_user` for a code.
#[track_caller]
fn details(setup: &mut Setup, username: &str, code: impl Into<Value>) -> Value {
    let args = json!([username, "secret", code.into(), true]);
    setup.client.call("authenticate_user", args).ok().clone()
}

#[test]
fn a_code_is_valid_once_across_all_actions() {
    let mut setup = setup();
    let used = json!([false, "invalid_otp_code"]);

    let code = Codes::of(OTTO).now();
    assert_eq!(details(&mut setup, OTTO, code.as_str()), json!([true, ""]));
    assert_eq!(details(&mut setup, OTTO, code.as_str()), used);
    let args = json!([OTTO, "secret", code]);
    let session = setup.client.call("create_session", args);
    session.fails("invalid_otp_code");
    let args = json!([OTTO, "secret", "hunter2", code]);
    let update = setup.client.call("update_password", args);
    assert_eq!(update.ok(), &json!(false));

    let code = Codes::of(PAUL).now();
    let args = json!([PAUL, "secret", code]);
    setup.client.call("create_session", args).ok();
    assert_eq!(details(&mut setup, PAUL, code), used);

    let code = Codes::of(PAUL).next();
    let args = json!([PAUL, "secret", "secret", code]);
    let update = setup.client.call("update_password", args);
    assert_eq!(update.ok(), &json!(true));
    assert_eq!(details(&mut setup, PAUL, code), used);
}

#[test]
fn a_used_code_invalidates_earlier_codes() {
    let mut setup = setup();
    let earlier = Codes::of(OTTO).now();
    let later = Codes::of(OTTO).next();
    assert_eq!(details(&mut setup, OTTO, later), json!([true, ""]));
    let refused = json!([false, "invalid_otp_code"]);
    assert_eq!(details(&mut setup, OTTO, earlier), refused);
}

#[test]
fn a_refused_login_uses_no_code() {
    let mut setup = setup();
    let code = Codes::of(OTTO).now();
    for args in [
        json!([OTTO, "wrong", code]),
        json!([OTTO, "secret"]),
        json!([OTTO, "secret", Codes::of(OTTO).wrong()]),
    ] {
        let reply = setup.client.call("authenticate_user", args);
        assert_eq!(reply.ok(), &json!(false));
    }
    assert_eq!(details(&mut setup, OTTO, code), json!([true, ""]));
}

/// Only one of many concurrent logins with the same code succeeds.
#[test]
fn a_code_is_valid_once_among_concurrent_logins() {
    let mut setup = setup();
    let code = Codes::of(OTTO).now();
    let ids: Vec<_> = (0..20)
        .map(|_| {
            let args = json!([OTTO, "secret", code]);
            setup.client.send("authenticate_user", args)
        })
        .collect();
    let successes = ids
        .iter()
        .filter(|id| setup.client.reply(id).ok() == &json!(true))
        .count();
    assert_eq!(successes, 1);
}

/// Platypush sends `"123456"` as a number, and `"012345"` as text.
#[test]
fn a_code_may_be_an_integer() {
    let mut setup = setup();
    for (name, code) in [(OTTO, Codes::of(OTTO).now()), (PAUL, Codes::of(PAUL).now())] {
        let sent = serde_json::from_str(&code).unwrap_or(Value::String(code));
        assert_eq!(details(&mut setup, name, sent), json!([true, ""]));
    }
}

/// Regression: a code with a space, as a phone shows it, and a number without its leading zeros
/// were wrong codes.
#[test]
fn a_code_may_have_a_space_or_lack_leading_zeros() {
    let begins_with_zero = |name: &String| Codes::of(name).now().starts_with('0');
    let mut names = (0..).map(|number| format!("user {number}"));
    let name = names.find(begins_with_zero).unwrap();
    let mut setup = setup();
    let session = log_in(&mut setup.client, "alice", "secret");
    let args = json!({"username": name, "password": "secret", "session_token": session});
    setup.client.call("create_user", args).ok();
    let code = Codes::of(&name).now();
    enable_second_factor(&mut setup, &[&name]);
    let number: u32 = code.parse().unwrap();
    assert_eq!(details(&mut setup, &name, number), json!([true, ""]));
    let full_width = |digit: char| char::from_u32(u32::from(digit) + 0xfee0).unwrap();
    let code: String = Codes::of(OTTO).now().chars().map(full_width).collect();
    assert_eq!(details(&mut setup, OTTO, code), json!([true, ""]));
    let code = Codes::of(PAUL).now();
    let code = format!("{}\u{a0}{}", &code[..3], &code[3..]);
    assert_eq!(details(&mut setup, PAUL, code), json!([true, ""]));
}

/// A null or empty code counts as missing, a code of spaces as wrong.
#[test]
fn missing_and_invalid_codes() {
    let mut setup = setup();
    for (code, reason) in [
        (Value::Null, "missing_otp_code"),
        (json!(""), "missing_otp_code"),
        (json!(" "), "invalid_otp_code"),
        (json!(-1_234_567), "invalid_otp_code"),
        (json!("12 34 56 7"), "invalid_otp_code"),
        (json!("1".repeat(5000)), "invalid_otp_code"),
    ] {
        assert_eq!(details(&mut setup, OTTO, code), json!([false, reason]));
    }
}

#[test]
fn update_password_keeps_the_second_factor() {
    let mut setup = setup();
    let args = json!([OTTO, "secret", "hunter2", Codes::of(OTTO).now()]);
    setup.client.call("update_password", args).ok();
    let login = setup
        .client
        .call("create_session", json!([OTTO, "hunter2"]));
    login.fails("missing_otp_code");
    let args = json!([OTTO, "hunter2", Codes::of(OTTO).next()]);
    let session = setup.client.call("create_session", args);
    let token = &session.ok()["session_token"];
    let user = setup.client.call("get_user_by_session", json!([token]));
    assert_eq!(user.ok()["has_2fa"], json!(true));
}

/// A later user with the same name has no second factor.
#[test]
fn the_second_factor_is_deleted_with_its_user() {
    let mut setup = setup();
    let session = log_in(&mut setup.client, "alice", "secret");
    let by_alice = |mut args: Value| {
        args["session_token"] = json!(session);
        args
    };
    let delete = by_alice(json!({"username": OTTO}));
    setup.client.call("delete_user", delete).ok();
    let create = by_alice(json!({"username": OTTO, "password": "secret"}));
    setup.client.call("create_user", create).ok();
    let token = log_in(&mut setup.client, OTTO, "secret");
    let user = setup.client.call("get_user_by_session", json!([token]));
    assert_eq!(user.ok()["has_2fa"], json!(false));
}
