//! Requests and commands that publish no event.

use serde_json::{Value, json};

use super::{Fixture, arguments};
use crate::admin::admin;
use crate::support::Codes;

/// Actions that only read.
pub const SILENT_ACTIONS: &[&str] = &[
    "authenticate_session",
    "get_users",
    "get_user_by_session",
    "get_sessions",
    "authenticate_api_token",
    "get_api_tokens",
];

/// Asserts that no event was published before this call: the next event is that of a session
/// created here.
#[track_caller]
fn assert_silence(fixture: &mut Fixture) {
    let args = json!(["admin", "secret", null, 1_924_948_800]);
    fixture.call("create_session", args).ok();
    let (event, _) = arguments(&fixture.next_event());
    assert_eq!(event["kind"], "session_created", "{event}");
    assert_eq!(event["expires_at"], "2030-12-31T12:00:00.000000", "{event}");
}

#[test]
fn requests_that_change_nothing_publish_nothing() {
    let mut fixture = Fixture::new(&[]);
    let session = fixture.first_session();
    let user = fixture.user();
    let (otto, _) = fixture.user_with_factor();
    let silent: &[(&str, Value)] = &[
        ("get_users", json!([])),
        ("authenticate_session", json!([session])),
        ("authenticate_session", json!(["nothing"])),
        ("get_user_by_session", json!([session])),
        ("get_user_by_session", json!(["nothing"])),
        ("get_sessions", json!([session])),
        ("get_sessions", json!(["nothing"])),
        ("authenticate_user", json!([user.name, "secret"])),
        ("get_api_tokens", json!([session])),
        ("get_api_tokens", json!(["nothing"])),
        ("authenticate_api_token", json!(["admin:nothing"])),
        ("delete_api_token", json!([session, 7])),
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
        fixture.call(action, args.clone());
        assert_silence(&mut fixture);
    }
    // The right password without a code is not a failure.
    for (action, args) in [
        ("authenticate_user", json!([otto.name, "secret"])),
        ("create_session", json!([otto.name, "secret"])),
        ("update_password", json!([otto.name, "secret", "other"])),
        ("disable_otp", json!([otto.name, "secret"])),
        ("refresh_backup_codes", json!([otto.name, "secret"])),
        ("delete_sessions", json!([otto.name, "secret"])),
        ("delete_user", json!([user.name, otto.name, "secret"])),
    ] {
        fixture.call(action, args);
        assert_silence(&mut fixture);
    }
}

#[test]
fn rejected_requests_publish_nothing() {
    let mut fixture = Fixture::new(&[]);
    let session = fixture.first_session();
    let user = fixture.user();
    for (action, args) in [
        ("create_user", json!(["zoe", "secret"])),
        (
            "create_user",
            json!({"username": user.name, "password": "secret", "session_token": session}),
        ),
        (
            "create_user",
            json!({"username": "zoe", "password": "secret", "session_token": "nothing"}),
        ),
        (
            "create_user",
            json!({"username": "zoe", "password": "", "session_token": session}),
        ),
        (
            "delete_user",
            json!({"username": "zoe", "session_token": session}),
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
        let reply = fixture.call(action, args);
        assert_eq!(reply.errors().len(), 1, "{action}: {reply:?}");
        assert_silence(&mut fixture);
    }
}

/// Otherwise an attacker could keep the nodes busy with attempts on a locked name.
#[test]
fn throttled_attempts_publish_nothing() {
    let mut fixture = Fixture::new(&[]);
    let user = fixture.user();
    for name in [&*user.name, "unknown"] {
        for attempts in 1..=3 {
            fixture.call("create_session", json!([name, "wrong"]));
            assert_eq!(fixture.next_event_of("login_failed")["attempts"], attempts);
        }
        let guesses = vec![("create_session", json!([name, "wrong"])); 20];
        let mut throttled = 0;
        for id in fixture.client.send_all(guesses) {
            let reply = fixture.client.reply(&id);
            throttled += usize::from(reply.errors()[0].starts_with("Too many"));
        }
        // The delay of one second may end before the last of these attempts, which then fails.
        for _ in throttled..20 {
            fixture.next_event_of("login_failed");
        }
        assert!(throttled > 0);
        assert_silence(&mut fixture);
    }
}

#[test]
fn admin_commands_that_change_no_user_publish_nothing() {
    let mut fixture = Fixture::new(&[]);
    let workdir = fixture.daemon.workdir();
    for command in [
        &["users"][..],
        &["unlock", "admin"],
        &["unlock", "unknown"],
        &["rotate-key"],
    ] {
        admin(&workdir, command, "").ok();
        assert_silence(&mut fixture);
    }
    for command in [
        &["disable-otp", "admin"][..],
        &["disable-otp", "unknown"],
        &["delete-sessions", "unknown"],
        &["reset-password", "unknown"],
    ] {
        assert_eq!(admin(&workdir, command, "secret\n").status, 1);
        assert_silence(&mut fixture);
    }
}
