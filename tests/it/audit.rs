//! The audit trail: one event for each act, with who, what and how it ended.

use serde_json::{Value, json};

use crate::support::{Client, Daemon, RedisServer};

/// The events of the audit trail so far, without their time and level.
fn trail(daemon: &Daemon) -> Vec<Value> {
    let log = daemon.log();
    let lines = log.lines().filter_map(|line| {
        let mut event: Value = serde_json::from_str(line).ok()?;
        (event["target"] == "audit").then(|| {
            let event = event.as_object_mut().unwrap();
            event.remove("timestamp");
            assert_eq!(event.remove("level").unwrap(), "INFO");
            event.remove("target");
            event.clone().into()
        })
    });
    lines.collect()
}

/// Sends a request, and gives the one event of it.
fn event_of(daemon: &Daemon, client: &mut Client, action: &str, args: Value) -> Value {
    let before = trail(daemon).len();
    let id = Client::new_id();
    let message = json!({
        "type": "request", "id": id, "origin": "node", "action": format!("user.{action}"),
        "args": args,
    });
    client.push(message.to_string());
    client.reply(&id);
    // Other lines have no origin.
    daemon.wait_for_log(&format!(r#""id":"\"{id}\"","origin""#));
    let mut events = trail(daemon).split_off(before);
    assert_eq!(events.len(), 1, "{events:?}");
    let mut event = events.remove(0);
    let event_map = event.as_object_mut().unwrap();
    assert_eq!(event_map.remove("id").unwrap(), format!("{id:?}"));
    assert_eq!(event_map.remove("origin").unwrap(), r#""node""#);
    let full = format!("{:?}", format!("user.{action}"));
    assert_eq!(event_map.remove("action").unwrap(), full);
    event
}

#[test]
fn every_act_is_one_event() {
    let redis = RedisServer::start();
    let settings = [
        ("LOG__FORMAT", "json"),
        ("LOG__LEVEL", "info"),
        ("THROTTLE__FAILURES", "2"),
    ];
    let daemon = Daemon::start(&redis, &settings);
    let client = &mut redis.client();
    let mut event = |action: &str, args: Value| event_of(&daemon, client, action, args);
    let alice = json!({"user": r#""alice""#, "outcome": "success"});
    assert_eq!(event("create_user", json!(["alice", "pw"])), alice);
    assert_eq!(event("authenticate_user", json!(["alice", "pw"])), alice);
    let bob = json!({
        "username": "bob", "password": "pw", "executing_user": "alice",
        "executing_user_password": "pw",
    });
    assert_eq!(
        event("create_user", bob),
        json!({"user": r#""bob""#, "by": r#""alice""#, "outcome": "success"})
    );
    let delete = json!({
        "username": "bob", "executing_user": "alice", "executing_user_password": "pw",
    });
    assert_eq!(
        event("delete_user", delete),
        json!({"user": r#""bob""#, "by": r#""alice""#, "outcome": "success"})
    );
    assert_eq!(
        event("authenticate_session", json!(["nothing"])),
        json!({"outcome": "invalid_session"})
    );
    for outcome in ["invalid_credentials", "invalid_credentials", "throttled"] {
        assert_eq!(
            event("create_session", json!(["alice", "wrong"])),
            json!({"user": r#""alice""#, "outcome": outcome})
        );
    }
    assert_eq!(
        event("create_user", json!(["carol", "pw"])),
        json!({"outcome": "authentication_needed"})
    );
}

#[test]
fn a_name_that_nobody_has_is_logged_as_a_hash_because_it_may_be_a_password() {
    let redis = RedisServer::start();
    let settings = [("LOG__FORMAT", "json"), ("LOG__LEVEL", "trace")];
    let daemon = Daemon::start(&redis, &settings);
    let client = &mut redis.client();
    let mut login = |name: &str| {
        let event = event_of(&daemon, client, "authenticate_user", json!([name, "x"]));
        event["user"].as_str().unwrap().to_owned()
    };
    let first = login("correct horse battery");
    assert!(
        first.starts_with("unknown:") && first.len() == 8 + 32,
        "{first}"
    );
    assert_eq!(login("correct horse battery"), first);
    assert_ne!(login("another"), first);
    assert!(!daemon.log().contains("correct horse"));
}

#[test]
fn text_of_clients_forges_no_line() {
    let redis = RedisServer::start();
    let daemon = Daemon::start(&redis, &[("LOG__LEVEL", "trace")]);
    let client = &mut redis.client();
    let forged = "x\n2026-11-24T10:32:02Z  INFO audit: FORGED \u{1b}[31m\u{2028}";
    let id = Client::new_id();
    let message = json!({
        "type": "request", "id": format!("{id}{forged}"), "origin": forged,
        "action": "user.create_user", "args": {"username": forged, "password": "pw"},
    });
    client.push(message.to_string());
    client.reply(&format!("{id}{forged}"));
    daemon.wait_for_log("success");
    for line in daemon.log().lines() {
        let begins = line
            .find("FORGED")
            .is_none_or(|at| line[..at].contains(r"\n"));
        assert!(
            begins && !line.contains('\u{1b}') && !line.contains('\u{2028}'),
            "{line}"
        );
    }
}
