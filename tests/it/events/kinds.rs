//! Every kind of event, word for word, as a channel and a list get it.

use std::collections::BTreeSet;

use platypush_userd::actions::ACTIONS;
use platypush_userd::clock::{Clock as _, Iso, SystemClock};
use platypush_userd::events::KINDS;
use serde_json::{Value, json};

use super::{Scene, arguments, enabling, silence};
use crate::support::Codes;

/// What somebody does, and the event of it.
struct Case {
    kind: &'static str,
    action: &'static str,
    what: &'static str,
    /// Sets the scene; gives the arguments of the action and those of the
    /// event, without its kind and without those that have their default.
    play: fn(&mut Scene) -> (Value, Value),
}

const fn case(
    kind: &'static str,
    action: &'static str,
    what: &'static str,
    play: fn(&mut Scene) -> (Value, Value),
) -> Case {
    Case {
        kind,
        action,
        what,
        play,
    }
}

const WRONG: &str = "invalid_credentials";
const WRONG_CODE: &str = "invalid_otp_code";

#[rustfmt::skip]
const CASES: &[Case] = &[
    case("user_created", "create_user", "by a session", |scene| {
        let by = scene.user();
        let next = by.id + 1;
        (json!({"username": "zoé \"\\", "password": "secret", "session_token": by.session}),
         json!({"username": "zoé \"\\", "user_id": next, "by": by.name}))
    }),
    case("user_created", "create_user", "by a password", |scene| {
        let by = scene.user();
        let next = by.id + 1;
        (json!(["zack", "secret", by.name, "secret"]),
         json!({"username": "zack", "user_id": next, "by": by.name}))
    }),
    case("user_deleted", "delete_user", "by somebody else", |scene| {
        let (by, gone) = (scene.user(), scene.user());
        (json!([gone.name, by.name, "secret"]),
         json!({"username": gone.name, "user_id": gone.id, "by": by.name}))
    }),
    case("user_deleted", "delete_user", "by itself", |scene| {
        let gone = scene.user();
        (json!({"username": gone.name, "session_token": gone.session}),
         json!({"username": gone.name, "user_id": gone.id}))
    }),
    case("password_updated", "update_password", "and sessions go on", |scene| {
        let user = scene.user();
        (json!([user.name, "secret", "other"]),
         json!({"username": user.name, "user_id": user.id, "sessions_revoked": false}))
    }),
    case("password_updated", "update_password", "and sessions end", |scene| {
        let user = scene.user();
        (json!([user.name, "secret", "other", null, true]),
         json!({"username": user.name, "user_id": user.id, "sessions_revoked": true}))
    }),
    case("session_created", "create_session", "without an end", |scene| {
        let user = scene.user();
        (json!([user.name, "secret"]),
         json!({"username": user.name, "user_id": user.id, "session_id": SESSION, "expires_at": null}))
    }),
    case("session_created", "create_session", "with an end and a code", |scene| {
        let (user, code) = scene.user_with_factor();
        (json!([user.name, "secret", code, 1_924_948_800]),
         json!({"username": user.name, "user_id": user.id, "session_id": SESSION,
                "expires_at": "2030-12-31T12:00:00.000000"}))
    }),
    case("session_deleted", "delete_session", "a log-out", |scene| {
        let user = scene.user();
        (json!([user.session]),
         json!({"username": user.name, "user_id": user.id, "session_id": user.session_id,
                "all_sessions": false}))
    }),
    case("session_deleted", "delete_sessions", "one", |scene| {
        let user = scene.user();
        (json!([user.name, "secret", null, user.session_id]),
         json!({"username": user.name, "user_id": user.id, "session_id": user.session_id,
                "all_sessions": false}))
    }),
    case("session_deleted", "delete_sessions", "all", |scene| {
        let user = scene.user();
        (json!([user.name, "secret"]),
         json!({"username": user.name, "user_id": user.id, "session_id": null,
                "all_sessions": true}))
    }),
    case("otp_enabled", "enable_otp", "", |scene| {
        let user = scene.user();
        (enabling(&user), json!({"username": user.name, "user_id": user.id}))
    }),
    case("otp_disabled", "disable_otp", "", |scene| {
        let (user, code) = scene.user_with_factor();
        (json!([user.name, "secret", code]), json!({"username": user.name, "user_id": user.id}))
    }),
    case("backup_codes_refreshed", "refresh_backup_codes", "", |scene| {
        let (user, code) = scene.user_with_factor();
        (json!([user.name, "secret", code]), json!({"username": user.name, "user_id": user.id}))
    }),
    case("api_token_created", "create_api_token", "with a name and an end", |scene| {
        let user = scene.user();
        let next = scene.next_token_id();
        (json!([user.name, "secret", null, "script", 1_924_948_800]),
         json!({"username": user.name, "user_id": user.id, "token_id": next,
                "token_name": "script", "expires_at": "2030-12-31T12:00:00.000000"}))
    }),
    case("api_token_deleted", "delete_api_token", "", |scene| {
        let user = scene.user();
        let id = scene.next_token_id();
        scene.call("create_api_token", json!([user.name, "secret", null, "script"])).ok();
        scene.hear_kind("api_token_created");
        (json!([user.session, id]),
         json!({"username": user.name, "user_id": user.id, "token_id": id,
                "token_name": "script", "all_tokens": false}))
    }),
    case("login_failed", "authenticate_user", "a wrong password", |scene| {
        let user = scene.user();
        (json!([user.name, "wrong"]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "authenticate_user", "a wrong code, with details", |scene| {
        let (user, _) = scene.user_with_factor();
        (json!([user.name, "secret", Codes::of(&user.name).wrong(), true]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG_CODE,
                "name_hash": null}))
    }),
    case("login_failed", "create_session", "a wrong password, for the second time", |scene| {
        let user = scene.user();
        scene.call("create_session", json!([user.name, "wrong"]));
        scene.hear_kind("login_failed");
        (json!([user.name, "wrong"]),
         json!({"username": user.name, "user_id": user.id, "attempts": 2, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "create_session", "again the first one after a success", |scene| {
        let user = scene.user();
        scene.call("create_session", json!([user.name, "wrong"]));
        scene.hear_kind("login_failed");
        scene.call("authenticate_user", json!([user.name, "secret"])).ok();
        (json!([user.name, "wrong"]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "create_session", "a used code", |scene| {
        let (user, _) = scene.user_with_factor();
        (json!([user.name, "secret", Codes::of(&user.name).now()]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG_CODE,
                "name_hash": null}))
    }),
    case("login_failed", "create_session", "a name that nobody has", |_| {
        (json!(["my password", "wrong"]),
         json!({"username": null, "user_id": null, "attempts": 1, "reason": WRONG,
                "name_hash": HASH}))
    }),
    case("login_failed", "create_user", "whoever asks is not who it says", |scene| {
        let by = scene.user();
        (json!(["zoe", "secret", by.name, "wrong"]),
         json!({"username": by.name, "user_id": by.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "delete_user", "whoever asks is not who it says", |scene| {
        let by = scene.user();
        (json!(["keeper", by.name, "wrong"]),
         json!({"username": by.name, "user_id": by.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "delete_user", "nobody asks", |_| {
        (json!(["keeper", "my other password", "wrong"]),
         json!({"username": null, "user_id": null, "attempts": 1, "reason": WRONG,
                "name_hash": HASH}))
    }),
    case("login_failed", "update_password", "a wrong password", |scene| {
        let user = scene.user();
        (json!([user.name, "wrong", "other"]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "update_password", "a wrong code", |scene| {
        let (user, _) = scene.user_with_factor();
        (json!([user.name, "secret", "other", Codes::of(&user.name).wrong()]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG_CODE,
                "name_hash": null}))
    }),
    case("login_failed", "enable_otp", "a wrong password", |scene| {
        let user = scene.user();
        let mut args = enabling(&user);
        args["password"] = json!("wrong");
        (args,
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "enable_otp", "a wrong code", |scene| {
        let user = scene.user();
        let mut args = enabling(&user);
        args["code"] = json!(Codes::of(&user.name).wrong());
        (args,
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG_CODE,
                "name_hash": null}))
    }),
    case("login_failed", "disable_otp", "a wrong code", |scene| {
        let (user, _) = scene.user_with_factor();
        (json!([user.name, "secret", Codes::of(&user.name).wrong()]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG_CODE,
                "name_hash": null}))
    }),
    case("login_failed", "refresh_backup_codes", "a wrong password", |scene| {
        let (user, code) = scene.user_with_factor();
        (json!([user.name, "wrong", code]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "create_api_token", "a wrong password", |scene| {
        let user = scene.user();
        (json!([user.name, "wrong"]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
    case("login_failed", "delete_sessions", "a wrong password", |scene| {
        let user = scene.user();
        (json!([user.name, "wrong"]),
         json!({"username": user.name, "user_id": user.id, "attempts": 1, "reason": WRONG,
                "name_hash": null}))
    }),
];

/// Stands for the id of a session, of 16 hexadecimal digits.
const SESSION: &str = "<session>";
/// Stands for the hash of a name, of 32 hexadecimal digits.
const HASH: &str = "<hash>";

#[test]
fn every_kind_says_what_happened() {
    let mut scene = Scene::new(&[]);
    for case in CASES {
        let (args, said) = (case.play)(&mut scene);
        let mut expected = json!({"kind": case.kind, "by": null, "requested_by": "attic"});
        for (name, value) in said.as_object().unwrap() {
            expected[name] = value.clone();
        }
        let before = Iso(SystemClock.now()).to_string();
        scene.call(case.action, args);
        let after = Iso(SystemClock.now()).to_string();
        let (mut args, happened_at) = arguments(&scene.hear());
        for (name, length, stand_in) in [("session_id", 16, SESSION), ("name_hash", 32, HASH)] {
            if expected.get(name) == Some(&json!(stand_in)) {
                let digits = args[name].as_str().unwrap();
                assert_eq!(hex::decode(digits).unwrap().len() * 2, length, "{digits}");
                args[name] = json!(stand_in);
            }
        }
        let what = format!("{}, {}, {}", case.kind, case.action, case.what);
        assert_eq!(args, expected, "{what}");
        assert!((before..=after).contains(&happened_at), "{what}");
    }
}

#[test]
fn every_kind_has_a_case_and_every_action_is_one_or_silent() {
    let cases: BTreeSet<_> = CASES.iter().map(|case| case.kind).collect();
    assert_eq!(cases, KINDS.iter().copied().collect());
    let told: BTreeSet<_> = CASES.iter().map(|case| case.action).collect();
    for action in ACTIONS {
        let name = action.signature().name;
        let is_silent = silence::ACTIONS_THAT_CHANGE_NOTHING.contains(&name);
        assert_ne!(
            told.contains(name),
            is_silent,
            "{name} needs a case here, or a place among those that tell nothing"
        );
    }
}

/// The text itself, as a node gets it.
#[test]
fn an_event_is_one_line_of_json() {
    let mut scene = Scene::new(&[]);
    let user = scene.user();
    let (id, message) = crate::support::Client::request("delete_session", json!([user.session]));
    scene.client.push(message);
    scene.client.reply(&id).ok();
    let heard = scene.hear();
    let (before, _) = heard.rsplit_once(r#", "happened_at": ""#).unwrap();
    assert_eq!(
        before,
        format!(
            "{}{}{}",
            r#"{"type": "event", "args": {"type": "platypush.message.event.custom.CustomEvent", "subtype": "user_event", "kind": "session_deleted", "username": "user1", "user_id": 2, "session_id": ""#,
            user.session_id,
            r#"", "all_sessions": false, "by": null, "requested_by": null"#
        )
    );
}

/// Without the throttle nothing is counted, and failures are told all the
/// same.
#[test]
fn a_failure_that_is_not_counted_has_no_number() {
    let mut scene = Scene::new(&[("THROTTLE__FAILURES", "0")]);
    let user = scene.user();
    for _ in 0..2 {
        scene.call("create_session", json!([user.name, "wrong"]));
        let failed = scene.hear_kind("login_failed");
        assert_eq!(failed["attempts"], Value::Null);
        assert_eq!(failed["username"], user.name);
    }
}

/// The numbers are those that the failures make, in whatever order they come
/// about.
#[test]
fn failures_at_the_same_time_have_numbers_of_their_own() {
    let mut scene = Scene::new(&[("THROTTLE__FAILURES", "20"), ("PASSWORD__THREADS", "8")]);
    let user = scene.user();
    for name in [&*user.name, "nobody"] {
        let guess = ("create_session", json!([name, "wrong"]));
        for id in scene.client.send_all(vec![guess; 10]) {
            scene.client.reply(&id);
        }
        let numbers = (0..10).map(|_| scene.hear_kind("login_failed")["attempts"].as_u64());
        let numbers: BTreeSet<_> = numbers.map(Option::unwrap).collect();
        assert_eq!(numbers, (1..=10).collect());
    }
}
