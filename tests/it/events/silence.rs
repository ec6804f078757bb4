//! What no event tells of.

use serde_json::{Value, json};

use super::{Scene, arguments};
use crate::admin::admin;
use crate::support::Codes;

/// Look-ups.
pub const ACTIONS_THAT_CHANGE_NOTHING: &[&str] = &[
    "authenticate_session",
    "get_users",
    "get_user_by_session",
    "get_sessions",
    "authenticate_api_token",
    "get_api_tokens",
];

/// Asserts that nothing was told until now: the next thing that happens is
/// the next thing that is heard.
#[track_caller]
fn assert_silence(scene: &mut Scene) {
    let args = json!(["keeper", "secret", null, 1_924_948_800]);
    scene.call("create_session", args).ok();
    let (heard, _) = arguments(&scene.hear());
    assert_eq!(heard["kind"], "session_created", "{heard}");
    assert_eq!(heard["expires_at"], "2030-12-31T12:00:00.000000", "{heard}");
}

#[test]
fn look_ups_and_what_changes_nothing() {
    let mut scene = Scene::new(&[]);
    let keeper = scene.keeper();
    let user = scene.user();
    let (otto, _) = scene.user_with_factor();
    let silent: &[(&str, Value)] = &[
        ("get_users", json!([])),
        ("authenticate_session", json!([keeper])),
        ("authenticate_session", json!(["nothing"])),
        ("get_user_by_session", json!([keeper])),
        ("get_user_by_session", json!(["nothing"])),
        ("get_sessions", json!([keeper])),
        ("get_sessions", json!(["nothing"])),
        ("authenticate_user", json!([user.name, "secret"])),
        ("get_api_tokens", json!([keeper])),
        ("get_api_tokens", json!(["nothing"])),
        ("authenticate_api_token", json!(["keeper:nothing"])),
        ("delete_api_token", json!([keeper, 7])),
        ("delete_session", json!(["nothing"])),
        (
            "delete_sessions",
            json!([user.name, "secret", null, "0123456789abcdef"]),
        ),
        (
            "enable_otp",
            json!({"username": user.name, "password": "secret", "dry_run": true}),
        ),
    ];
    for (action, args) in silent {
        scene.call(action, args.clone());
        assert_silence(&mut scene);
    }
    // A right password without its code is no failure.
    for (action, args) in [
        ("authenticate_user", json!([otto.name, "secret"])),
        ("create_session", json!([otto.name, "secret"])),
        ("update_password", json!([otto.name, "secret", "other"])),
        ("disable_otp", json!([otto.name, "secret"])),
        ("refresh_backup_codes", json!([otto.name, "secret"])),
        ("delete_sessions", json!([otto.name, "secret"])),
        ("delete_user", json!([user.name, otto.name, "secret"])),
    ] {
        scene.call(action, args);
        assert_silence(&mut scene);
    }
}

#[test]
fn whatever_is_refused() {
    let mut scene = Scene::new(&[]);
    let keeper = scene.keeper();
    let user = scene.user();
    for (action, args) in [
        ("create_user", json!(["zoe", "secret"])),
        (
            "create_user",
            json!({"username": user.name, "password": "secret", "session_token": keeper}),
        ),
        (
            "create_user",
            json!({"username": "zoe", "password": "secret", "session_token": "nothing"}),
        ),
        (
            "create_user",
            json!({"username": "zoe", "password": "", "session_token": keeper}),
        ),
        (
            "delete_user",
            json!({"username": "zoe", "session_token": keeper}),
        ),
        ("delete_user", json!({"username": user.name})),
        ("update_password", json!([user.name, "secret", ""])),
        ("create_session", json!([user.name, "secret", null, "soon"])),
        ("disable_otp", json!([user.name, "secret"])),
        ("refresh_backup_codes", json!([user.name, "secret"])),
        (
            "enable_otp",
            json!([user.name, "secret", "not base32", "123456"]),
        ),
        (
            "enable_otp",
            json!([user.name, "secret", Codes::of("x").0.to_base32().as_str()]),
        ),
        ("no_such_action", json!([])),
    ] {
        let reply = scene.call(action, args);
        assert_eq!(reply.errors().len(), 1, "{action}: {reply:?}");
        assert_silence(&mut scene);
    }
}

/// Nobody makes the nodes work by trying a name that is not tried any more.
#[test]
fn an_attempt_that_the_throttle_refuses() {
    let mut scene = Scene::new(&[]);
    let user = scene.user();
    for name in [&*user.name, "nobody"] {
        for attempts in 1..=3 {
            scene.call("create_session", json!([name, "wrong"]));
            assert_eq!(scene.hear_kind("login_failed")["attempts"], attempts);
        }
        let guesses = vec![("create_session", json!([name, "wrong"])); 20];
        let mut throttled = 0;
        for id in scene.client.send_all(guesses) {
            let reply = scene.client.reply(&id);
            throttled += usize::from(reply.errors()[0].starts_with("Too many"));
        }
        // The wait of a second may be over while they come.
        for _ in throttled..20 {
            scene.hear_kind("login_failed");
        }
        assert!(throttled > 0);
        assert_silence(&mut scene);
    }
}

#[test]
fn commands_of_the_operator_that_change_no_user() {
    let mut scene = Scene::new(&[]);
    let workdir = scene.daemon.workdir();
    for command in [
        &["users"][..],
        &["unlock", "keeper"],
        &["unlock", "nobody"],
        &["rotate-key"],
    ] {
        admin(&workdir, command, "").ok();
        assert_silence(&mut scene);
    }
    for command in [
        &["disable-otp", "keeper"][..],
        &["disable-otp", "nobody"],
        &["delete-sessions", "nobody"],
        &["reset-password", "nobody"],
    ] {
        assert_eq!(admin(&workdir, command, "secret\n").status, 1);
        assert_silence(&mut scene);
    }
}
