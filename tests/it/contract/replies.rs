//! The form of a reply and the expiry of its list.

use std::sync::Arc;

use platypush_userd::clock::{Clock as _, SystemClock};
use redis::Commands as _;
use serde_json::{Value, json};

use super::{log_in, send_with, stop_when_idle};
use crate::support::{Daemon, REPLIES, RedisServer, Setup};

/// Calls an action and compares the bytes of the reply with those of the contract. Only
/// `_timestamp` is taken from the reply.
#[track_caller]
fn assert_response(setup: &mut Setup, action: &str, args: Value, response: &str) {
    let before = SystemClock.now().timestamp_micros();
    let id = setup.client.send(action, args);
    let reply = setup.client.raw_reply(&id);
    let after = SystemClock.now().timestamp_micros();

    let timestamp = between(&reply, "\"_timestamp\": ", ", ");
    assert_eq!(
        reply,
        format!(
            r#"{{"id": "{id}", "type": "response", "target": null, "origin": "test-node", "_timestamp": {timestamp}, "response": {response}, "_logging_level": 20}}"#
        )
    );
    assert!(timestamp.contains('.'), "{timestamp} is not a float");
    let seconds: f64 = timestamp.parse().unwrap();
    #[expect(clippy::cast_possible_truncation, reason = "it is near now")]
    let micros = (seconds * 1e6).round() as i64;
    assert!((before..=after).contains(&micros), "{timestamp}");
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap();
    rest.split_once(end).unwrap().0
}

#[test]
fn the_bytes_of_replies() {
    let mut setup = Setup::with_alice(&[]);
    let users = setup.client.send("get_users", json!({}));
    let users = setup.client.raw_reply(&users);
    let created_at = between(&users, r#""created_at": ""#, "\"").to_owned();
    let alice = format!(r#""user_id": 1, "username": "alice", "created_at": "{created_at}""#);
    let session = log_in(&mut setup.client, "alice", "secret");

    let secret = json!({"username": "alice", "password": "secret"});
    let details = json!(["alice", "wrong", null, true]);
    let missing = json!({"username": "alice"});
    let token = json!([session]);
    for (action, args, response) in [
        (
            "authenticate_user",
            secret,
            r#"{"output": true, "errors": []}"#.to_owned(),
        ),
        (
            "authenticate_user",
            details,
            r#"{"output": [false, "invalid_credentials"], "errors": []}"#.to_owned(),
        ),
        (
            "get_users",
            json!({}),
            format!(r#"{{"output": [{{{alice}}}], "errors": []}}"#),
        ),
        (
            "authenticate_session",
            token.clone(),
            format!(r#"{{"output": {{{alice}}}, "errors": []}}"#),
        ),
        (
            "get_user_by_session",
            token,
            format!(r#"{{"output": {{{alice}, "has_2fa": false}}, "errors": []}}"#),
        ),
        (
            "authenticate_user",
            missing,
            r#"{"output": {"success": false}, "errors": ["user.authenticate_user() missing 1 required positional argument: 'password'"]}"#.to_owned(),
        ),
        (
            "authenticate_session",
            json!(["é"]),
            r#"{"output": {"success": false}, "errors": ["Invalid session token"]}"#.to_owned(),
        ),
    ] {
        assert_response(&mut setup, action, args, &response);
    }
}

/// `created_at` of a user and of a session.
#[test]
fn created_at_is_the_time_of_the_creation() {
    let mut setup = Setup::new();
    let iso = || {
        SystemClock
            .now()
            .format("%Y-%m-%dT%H:%M:%S%.6f")
            .to_string()
    };
    let before = iso();
    let user = setup.client.call("create_user", json!(["alice", "secret"]));
    let between = iso();
    let session = setup
        .client
        .call("create_session", json!(["alice", "secret"]));
    let after = iso();
    let user = user.ok()["created_at"].as_str().unwrap();
    let session = session.ok()["created_at"].as_str().unwrap();
    assert!((&*before..=&*between).contains(&user), "{user}");
    assert!((&*between..=&*after).contains(&session), "{session}");
}

/// Text in replies has no escapes beyond those that JSON requires.
#[test]
fn text_is_escaped_only_where_json_requires_it() {
    let mut setup = Setup::new();
    let name = "é ☃ 😀 \"quoted\" \\ / \u{200d}";
    let id = setup.client.send("create_user", json!([name, "secret"]));
    let reply = setup.client.raw_reply(&id);
    let encoded = "\"é ☃ 😀 \\\"quoted\\\" \\\\ / \u{200d}\"";
    assert!(reply.contains(encoded), "{reply}");
}

#[test]
fn the_sender_is_the_configured_device() {
    let mut setup = Setup::with(&[("DEVICE_ID", "the \"attic\"")]);
    let reply = setup.client.call("get_users", json!({}));
    assert_eq!(reply.0["origin"], "the \"attic\"");
}

/// Starts a daemon with the default `reply_ttl`.
fn with_default_ttl() -> Setup {
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let daemon = Daemon::launch(folder, &redis, &[], |mut command| {
        command.env_remove("PLATYPUSH_USERD_REPLY_TTL");
        command
    });
    daemon.wait_for_log("ready");
    Setup {
        client: redis.client(),
        daemon,
        redis,
    }
}

#[test]
fn a_reply_expires_after_reply_ttl() {
    for (mut setup, ttl) in [
        (with_default_ttl(), 60),
        (Setup::with(&[("REPLY_TTL", "5000")]), 5000),
    ] {
        let good = send_with(&mut setup.client, json!({}));
        let bad = send_with(&mut setup.client, json!({"action": "user.nope"}));
        stop_when_idle(&mut setup);
        for id in [good, bad] {
            let left: i64 = setup.client.redis.ttl(format!("{REPLIES}{id}")).unwrap();
            assert!((1..=ttl).contains(&left), "{left} of {ttl}");
            assert!(ttl == 60 || left > 60, "{left} of {ttl}");
        }
    }
}

/// A further reply to the same list sets the expiry of the whole list again.
#[test]
fn a_second_reply_renews_the_expiry() {
    let mut setup = with_default_ttl();
    let list = format!("{REPLIES}x");
    let _: () = setup.client.redis.rpush(&list, "earlier").unwrap();
    let _: () = setup.client.redis.expire(&list, 1000).unwrap();
    send_with(&mut setup.client, json!({"id": "x"}));
    stop_when_idle(&mut setup);
    let left: i64 = setup.client.redis.ttl(&list).unwrap();
    assert!((1..=60).contains(&left), "{left}");
    let replies: Vec<String> = setup.client.redis.lrange(&list, 0, -1).unwrap();
    assert_eq!((replies.len(), &*replies[0]), (2, "earlier"));
}
