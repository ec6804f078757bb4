//! Users with a second factor, beyond what one call shows.

use serde_json::{Value, json};

use super::log_in;
use super::stage::switch_on_second_factor;
use crate::support::{Codes, Setup};

const OTTO: &str = "otto";
/// Another one, with codes of its own.
const PAUL: &str = "paul";

/// `alice`, and two users with a second factor. All have the password
/// `secret`.
fn setup() -> Setup {
    let mut setup = Setup::with_alice(&[]);
    let session = log_in(&mut setup.client, "alice", "secret");
    for name in [OTTO, PAUL] {
        let args = json!({"username": name, "password": "secret", "session_token": session});
        setup.client.call("create_user", args).ok();
    }
    switch_on_second_factor(&mut setup, &[OTTO, PAUL]);
    setup
}

/// What `authenticate_user` says to a code.
#[track_caller]
fn details(setup: &mut Setup, username: &str, code: impl Into<Value>) -> Value {
    let args = json!([username, "secret", code.into(), true]);
    setup.client.call("authenticate_user", args).ok().clone()
}

#[test]
fn a_code_is_good_once_whatever_it_was_used_for() {
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
fn a_code_takes_those_before_it_with_it() {
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

/// Of many logins with one code at once, one succeeds.
#[test]
fn a_code_is_good_once_among_many_at_once() {
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

/// Regression: what a phone shows with a space, and a number that has lost the
/// zeros that it began with, were wrong codes.
#[test]
fn a_code_is_taken_as_a_phone_shows_it_and_as_a_number() {
    let begins_with_zero = |name: &String| Codes::of(name).now().starts_with('0');
    let mut names = (0..).map(|number| format!("user {number}"));
    let name = names.find(begins_with_zero).unwrap();
    let mut setup = setup();
    let session = log_in(&mut setup.client, "alice", "secret");
    let args = json!({"username": name, "password": "secret", "session_token": session});
    setup.client.call("create_user", args).ok();
    let code = Codes::of(&name).now();
    switch_on_second_factor(&mut setup, &[&name]);
    let number: u32 = code.parse().unwrap();
    assert_eq!(details(&mut setup, &name, number), json!([true, ""]));
    let full_width = |digit: char| char::from_u32(u32::from(digit) + 0xfee0).unwrap();
    let code: String = Codes::of(OTTO).now().chars().map(full_width).collect();
    assert_eq!(details(&mut setup, OTTO, code), json!([true, ""]));
    let code = Codes::of(PAUL).now();
    let code = format!("{}\u{a0}{}", &code[..3], &code[3..]);
    assert_eq!(details(&mut setup, PAUL, code), json!([true, ""]));
}

/// A null or empty code is none; a code of spaces is a wrong one.
#[test]
fn what_is_no_code() {
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
fn the_new_password_holds_and_the_second_factor_stays() {
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

/// Deleted with its user: who takes the name later has no second factor.
#[test]
fn the_second_factor_goes_with_its_user() {
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
