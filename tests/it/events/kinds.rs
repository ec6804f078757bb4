//! Exact arguments of every kind of event, as published to a channel and a list.

use std::collections::BTreeSet;

use platypush_userd::actions::ACTIONS;
use platypush_userd::clock::{Clock as _, Iso, SystemClock};
use platypush_userd::events::KINDS;
use serde_json::{Value, json};

use super::{Fixture, arguments, enabling, silence};
use crate::support::Codes;

/// A request and the event that it causes.
struct Case {
    kind: &'static str,
    action: &'static str,
    variant: &'static str,
    /// Creates the users. Returns the arguments of the request and those of the event, without
    /// `kind` and without arguments that have their default.
    prepare: fn(&mut Fixture) -> (Value, Value),
}

const fn case(
    kind: &'static str,
    action: &'static str,
    variant: &'static str,
    prepare: fn(&mut Fixture) -> (Value, Value),
) -> Case {
    Case {
        kind,
        action,
        variant,
        prepare,
    }
}

const WRONG: &str = "invalid_credentials";
const WRONG_CODE: &str = "invalid_otp_code";

#[rustfmt::skip]
const CASES: &[Case] = &[
    case("user_created", "create_user", "by a session", |fixture| {
        let by = fixture.user();
        let next = by.id + 1;
        (json!({"username": "zoé \"\\", "password": "secret", "session_token": by.session}),
         json!({"username": "zoé \"\\", "user_id": next, "by": by.name}))
    }),
    case("user_created", "create_user", "by a password", |fixture| {
        let by = fixture.user();
        let next = by.id + 1;
        (json!(["zack", "secret", by.name, "secret"]),
         json!({"username": "zack", "user_id": next, "by": by.name}))
    }),
    case("user_deleted", "delete_user", "by another user", |fixture| {
        let (by, deleted) = (fixture.user(), fixture.user());
        (json!([deleted.name, by.name, "secret"]),
         json!({"username": deleted.name, "user_id": deleted.id, "by": by.name}))
    }),
    case("user_deleted", "delete_user", "by itself", |fixture| {
        let deleted = fixture.user();
        (json!({"username": deleted.name, "session_token": deleted.session}),
         json!({"username": deleted.name, "user_id": deleted.id}))
    }),
    case("password_updated", "update_password", "keeping sessions", |fixture| {
        let user = fixture.user();
        (json!([user.name, "secret", "other"]),
         json!({"username": user.name, "user_id": user.id, "sessions_revoked": false}))
    }),
    case("password_updated", "update_password", "revoking sessions", |fixture| {
        let user = fixture.user();
        (json!([user.name, "secret", "other", null, true]),
         json!({"username": user.name, "user_id": user.id, "sessions_revoked": true}))
    }),
    case("session_created", "create_session", "without an expiry", |fixture| {
        let user = fixture.user();
        (json!([user.name, "secret"]),
         json!({"username": user.name, "user_id": user.id, "session_id": SESSION, "expires_at": null}))
    }),
    case("session_created", "create_session", "with an expiry and a code", |fixture| {
        let (user, code) = fixture.user_with_factor();
        (json!([user.name, "secret", code, 1_924_948_800]),
         json!({"username": user.name, "user_id": user.id, "session_id": SESSION,
                "expires_at": "2030-12-31T12:00:00.000000"}))
    }),
    case("session_deleted", "delete_session", "logout", |fixture| {
        let user = fixture.user();
        (json!([user.session]),
         json!({"username": user.name, "user_id": user.id, "session_id": user.session_id,
                "all_sessions": false}))
    }),
    case("session_deleted", "delete_sessions", "one", |fixture| {
        let user = fixture.user();
        (json!([user.name, "secret", null, user.session_id]),
         json!({"username": user.name, "user_id": user.id, "session_id": user.session_id,
                "all_sessions": false}))
    }),
    case("session_deleted", "delete_sessions", "all", |fixture| {
        let user = fixture.user();
        (json!([user.name, "secret"]),
         json!({"username": user.name, "user_id": user.id, "session_id": null,
                "all_sessions": true}))
    }),
    case("otp_enabled", "enable_otp", "", |fixture| {
        let user = fixture.user();
        (enabling(&user), json!({"username": user.name, "user_id": user.id}))
    }),
    case("otp_disabled", "disable_otp", "", |fixture| {
        let (user, code) = fixture.user_with_factor();
        (json!([user.name, "secret", code]), json!({"username": user.name, "user_id": user.id}))
    }),
    case("backup_codes_refreshed", "refresh_backup_codes", "", |fixture| {
        let (user, code) = fixture.user_with_factor();
        (json!([user.name, "secret", code]), json!({"username": user.name, "user_id": user.id}))
    }),
    case("api_token_created", "create_api_token", "with a name and an expiry", |fixture| {
        let user = fixture.user();
        let next = fixture.next_token_id();
        (json!([user.name, "secret", null, "script", 1_924_948_800]),
         json!({"username": user.name, "user_id": user.id, "token_id": next,
                "token_name": "script", "expires_at": "2030-12-31T12:00:00.000000"}))
    }),
    case("api_token_deleted", "delete_api_token", "", |fixture| {
        let user = fixture.user();
        let id = fixture.next_token_id();
        fixture.call("create_api_token", json!([user.name, "secret", null, "script"])).ok();
        fixture.next_event_of("api_token_created");
        (json!([user.session, id]),
         json!({"username": user.name, "user_id": user.id, "token_id": id,
                "token_name": "script", "all_tokens": false}))
    }),
    case("login_failed", "authenticate_user", "a wrong password", |fixture| {
        let user = fixture.user();
        (json!([user.name, "wrong"]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "authenticate_user", "a wrong code, with details", |fixture| {
        let (user, _) = fixture.user_with_factor();
        (json!([user.name, "secret", Codes::of(&user.name).wrong(), true]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG_CODE,
                "name_hash": null}))
    }),
    case("login_failed", "create_session", "a second wrong password", |fixture| {
        let user = fixture.user();
        fixture.call("create_session", json!([user.name, "wrong"]));
        fixture.next_event_of("login_failed");
        (json!([user.name, "wrong"]),
         json!({"username": user.name, "user_id": user.id, "attempts": 2, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "create_session", "a wrong password after a success", |fixture| {
        let user = fixture.user();
        fixture.call("create_session", json!([user.name, "wrong"]));
        fixture.next_event_of("login_failed");
        fixture.call("authenticate_user", json!([user.name, "secret"])).ok();
        (json!([user.name, "wrong"]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "create_session", "a used code", |fixture| {
        let (user, _) = fixture.user_with_factor();
        (json!([user.name, "secret", Codes::of(&user.name).now()]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG_CODE,
                "name_hash": null}))
    }),
    case("login_failed", "create_session", "an unknown name", |_| {
        (json!(["my password", "wrong"]),
         json!({"username": null, "user_id": null, "attempts": 1, "reason": WRONG,
                "name_hash": HASH}))
    }),
    case("login_failed", "create_user", "a wrong password of the executing user", |fixture| {
        let by = fixture.user();
        (json!(["zoe", "secret", by.name, "wrong"]),
         json!({"username": by.name, "user_id": by.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "delete_user", "a wrong password of the executing user", |fixture| {
        let by = fixture.user();
        (json!(["admin", by.name, "wrong"]),
         json!({"username": by.name, "user_id": by.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "delete_user", "an unknown executing user", |_| {
        (json!(["admin", "my other password", "wrong"]),
         json!({"username": null, "user_id": null, "attempts": 1, "reason": WRONG,
                "name_hash": HASH}))
    }),
    case("login_failed", "update_password", "a wrong password", |fixture| {
        let user = fixture.user();
        (json!([user.name, "wrong", "other"]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "update_password", "a wrong code", |fixture| {
        let (user, _) = fixture.user_with_factor();
        (json!([user.name, "secret", "other", Codes::of(&user.name).wrong()]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG_CODE,
                "name_hash": null}))
    }),
    case("login_failed", "enable_otp", "a wrong password", |fixture| {
        let user = fixture.user();
        let mut args = enabling(&user);
        args["password"] = json!("wrong");
        (args,
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "enable_otp", "a wrong code", |fixture| {
        let user = fixture.user();
        let mut args = enabling(&user);
        args["code"] = json!(Codes::of(&user.name).wrong());
        (args,
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG_CODE,
                "name_hash": null}))
    }),
    case("login_failed", "disable_otp", "a wrong code", |fixture| {
        let (user, _) = fixture.user_with_factor();
        (json!([user.name, "secret", Codes::of(&user.name).wrong()]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG_CODE,
                "name_hash": null}))
    }),
    case("login_failed", "refresh_backup_codes", "a wrong password", |fixture| {
        let (user, code) = fixture.user_with_factor();
        (json!([user.name, "wrong", code]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "create_api_token", "a wrong password", |fixture| {
        let user = fixture.user();
        (json!([user.name, "wrong"]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "delete_sessions", "a wrong password", |fixture| {
        let user = fixture.user();
        (json!([user.name, "wrong"]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
];

/// Placeholder for the id of a session (16 hexadecimal digits).
const SESSION: &str = "<session>";
/// Placeholder for the hash of a name (32 hexadecimal digits).
const HASH: &str = "<hash>";

#[test]
fn every_kind_has_exact_arguments() {
    let mut fixture = Fixture::new(&[]);
    for case in CASES {
        let (args, event) = (case.prepare)(&mut fixture);
        let mut expected = json!({"kind": case.kind, "by": null, "requested_by": "attic"});
        for (name, value) in event.as_object().unwrap() {
            expected[name] = value.clone();
        }
        let before = Iso(SystemClock.now()).to_string();
        fixture.call(case.action, args);
        let after = Iso(SystemClock.now()).to_string();
        let (mut args, happened_at) = arguments(&fixture.next_event());
        for (name, length, placeholder) in [("session_id", 16, SESSION), ("name_hash", 32, HASH)] {
            if expected.get(name) == Some(&json!(placeholder)) {
                let digits = args[name].as_str().unwrap();
                assert_eq!(hex::decode(digits).unwrap().len() * 2, length, "{digits}");
                args[name] = json!(placeholder);
            }
        }
        let name = format!("{}, {}, {}", case.kind, case.action, case.variant);
        assert_eq!(args, expected, "{name}");
        assert!((before..=after).contains(&happened_at), "{name}");
    }
}

#[test]
fn every_kind_has_a_case_and_every_action_has_a_case_or_is_silent() {
    let cases: BTreeSet<_> = CASES.iter().map(|case| case.kind).collect();
    assert_eq!(cases, KINDS.iter().map(|kind| kind.name).collect());
    let with_case: BTreeSet<_> = CASES.iter().map(|case| case.action).collect();
    for action in ACTIONS {
        let name = action.signature().name;
        let is_silent = silence::SILENT_ACTIONS.contains(&name);
        assert_ne!(
            with_case.contains(name),
            is_silent,
            "{name} needs a case here or an entry in SILENT_ACTIONS"
        );
    }
}

/// Compares the encoded text that a node receives.
#[test]
fn an_event_is_one_line_of_json() {
    let mut fixture = Fixture::new(&[]);
    let user = fixture.user();
    let (id, message) = crate::support::Client::request("delete_session", json!([user.session]));
    fixture.client.push(message);
    fixture.client.reply(&id).ok();
    let event = fixture.next_event();
    let (start, _) = event.rsplit_once(r#", "happened_at": ""#).unwrap();
    assert_eq!(
        start,
        format!(
            "{}{}{}",
            r#"{"type": "event", "args": {"type": "platypush.message.event.custom.CustomEvent", "subtype": "user_event", "kind": "session_deleted", "username": "user1", "user_id": 2, "session_id": ""#,
            user.session_id,
            r#"", "all_sessions": false, "by": null, "requested_by": null"#
        )
    );
}

/// Without the throttle, failures are published but not counted.
#[test]
fn without_the_throttle_a_failure_has_no_count() {
    let mut fixture = Fixture::new(&[("THROTTLE__FAILURES", "0")]);
    let user = fixture.user();
    for _ in 0..2 {
        fixture.call("create_session", json!([user.name, "wrong"]));
        let failed = fixture.next_event_of("login_failed");
        assert_eq!(failed["attempts"], Value::Null);
        assert_eq!(failed["username"], user.name);
    }
}

/// The order of the events may differ from the order of the requests.
#[test]
fn concurrent_failures_have_distinct_counts() {
    let mut fixture = Fixture::new(&[("THROTTLE__FAILURES", "20"), ("PASSWORD__THREADS", "8")]);
    let user = fixture.user();
    for name in [&*user.name, "unknown"] {
        let guess = ("create_session", json!([name, "wrong"]));
        for id in fixture.client.send_all(vec![guess; 10]) {
            fixture.client.reply(&id);
        }
        let counts = (0..10).map(|_| fixture.next_event_of("login_failed")["attempts"].as_u64());
        let counts: BTreeSet<_> = counts.map(Option::unwrap).collect();
        assert_eq!(counts, (1..=10).collect());
    }
}
