//! `expires_at` of a session.

use platypush_userd::clock::{Clock as _, SystemClock};
use serde_json::json;

use super::ask;
use crate::support::{Client, Reply, Setup};

/// Logs alice in with this `expires_at`, given as JSON.
fn log_in_until(client: &mut Client, expires_at: &str) -> Reply {
    let message = format!(
        r#"{{"action": "user.create_session", "id": "x",
            "args": {{"username": "alice", "password": "secret", "expires_at": {expires_at}}}}}"#
    );
    ask(client, "x", &message)
}

#[test]
fn every_form_is_returned_in_utc() {
    let mut setup = Setup::with_alice(&[]);
    for (given, returned) in [
        ("1925000000", "2031-01-01T02:13:20.000000"),
        ("1925000000.123456", "2031-01-01T02:13:20.123456"),
        ("1.925e9", "2031-01-01T02:13:20.000000"),
        ("253402300799", "9999-12-31T23:59:59.000000"),
        (r#""2031-01-02""#, "2031-01-02T00:00:00.000000"),
        (r#""20310102""#, "2031-01-02T00:00:00.000000"),
        (r#""2031-01-02T03:04""#, "2031-01-02T03:04:00.000000"),
        (r#""2031-01-02T03:04:05""#, "2031-01-02T03:04:05.000000"),
        (r#""2031-01-02 03:04:05""#, "2031-01-02T03:04:05.000000"),
        (
            r#""2031-01-02T03:04:05.678901""#,
            "2031-01-02T03:04:05.678901",
        ),
        (r#""2031-01-02T03:04:05Z""#, "2031-01-02T03:04:05.000000"),
        (
            r#""2031-01-02T03:04:05+00:00""#,
            "2031-01-02T03:04:05.000000",
        ),
        (
            r#""2031-01-02T03:04:05+02:00""#,
            "2031-01-02T01:04:05.000000",
        ),
        (
            r#""2031-01-02T03:04:05-09:30""#,
            "2031-01-02T12:34:05.000000",
        ),
    ] {
        let reply = log_in_until(&mut setup.client, given);
        let session = reply.ok();
        assert_eq!(session["expires_at"], returned, "{given}");
        let token = &session["session_token"];
        let user = setup.client.call("authenticate_session", json!([token]));
        assert_eq!(user.ok()["username"], "alice", "{given}");
    }
}

#[test]
fn null_and_empty_text_mean_no_expiry() {
    let mut setup = Setup::with_alice(&[]);
    for no_expiry in ["null", "\"\""] {
        let reply = log_in_until(&mut setup.client, no_expiry);
        assert_eq!(reply.ok()["expires_at"], json!(null));
        let token = &reply.ok()["session_token"];
        let user = setup.client.call("authenticate_session", json!([token]));
        user.ok();
    }
}

#[test]
fn a_past_time_never_authenticates() {
    let mut setup = Setup::with_alice(&[]);
    let now = SystemClock.now();
    let an_instant_ago = now.format("\"%Y-%m-%dT%H:%M:%S%.6f\"").to_string();
    let today = now.format("\"%Y-%m-%d\"").to_string();
    for past in [
        "0",
        "-1",
        "-1.5",
        "1000000000",
        "\"2001-01-01\"",
        &an_instant_ago,
        &today,
    ] {
        let reply = log_in_until(&mut setup.client, past);
        let token = reply.ok()["session_token"].clone();
        assert!(reply.ok()["expires_at"].is_string(), "{past}");
        let client = &mut setup.client;
        client
            .call("authenticate_session", json!([token]))
            .fails("Invalid session token");
        client
            .call("get_user_by_session", json!([token]))
            .fails("No user associated with the specified session token");
        let args = json!({"username": "bob", "password": "x", "session_token": token});
        client
            .call("create_user", args)
            .fails("Invalid credentials and/or session_token");
        let deleted = client.call("delete_session", json!([token]));
        assert_eq!(deleted.ok(), &json!(false), "{past}");
    }
}

#[test]
fn invalid_text_is_refused() {
    let mut setup = Setup::with_alice(&[]);
    for text in [
        "garbage",
        "2031",
        "2031-13-01",
        "2031-02-29",
        "2031-01-01T",
        "2031-01-01T25:00",
        "2031-01-01T12:00+99:99",
        "1925000000",
        "tomorrow",
        " ",
        "NaN",
    ] {
        let reply = log_in_until(&mut setup.client, &json!(text).to_string());
        reply.fails(&format!("Invalid isoformat string: '{text}'"));
    }
}

#[test]
fn invalid_numbers_and_types_are_refused() {
    let mut setup = Setup::with_alice(&[]);
    for (value, message) in [
        ("NaN", "finite"),
        ("Infinity", "finite"),
        ("-Infinity", "finite"),
        ("1e300", "finite"),
        ("-1e300", "finite"),
        ("1e12", "finite"),
        ("253402300800", "finite"),
        ("123456789012345678901234567890", "finite"),
        ("true", "boolean"),
        ("false", "boolean"),
        ("[]", "list"),
        ("{}", "object"),
    ] {
        let reply = log_in_until(&mut setup.client, value);
        assert_eq!(reply.output(), &json!({"success": false}), "{value}");
        let [error] = reply.errors()[..] else {
            panic!("{value}: {reply:?}");
        };
        assert!(error.contains("'expires_at'"), "{value}: {error}");
        assert!(error.contains(message), "{value}: {error}");
    }
}
