//! The audit trail: one entry per audited request, with user, action and outcome.

use platypush_userd::credentials::TotpSecret;
use serde_json::{Value, json};

use crate::support::{Client, Codes, Daemon, RedisServer, Setup};

/// Returns the entries of the audit trail so far, without their time and level.
fn trail(daemon: &Daemon) -> Vec<Value> {
    let log = daemon.log();
    let lines = log.lines().filter_map(|line| {
        let mut entry: Value = serde_json::from_str(line).ok()?;
        (entry["target"] == "audit").then(|| {
            let entry = entry.as_object_mut().unwrap();
            entry.remove("timestamp");
            assert_eq!(entry.remove("level").unwrap(), "INFO");
            entry.remove("target");
            entry.clone().into()
        })
    });
    lines.collect()
}

/// Sends a request and returns its one entry, without the fields that are the same in all.
fn entry_of(daemon: &Daemon, client: &mut Client, action: &str, args: Value) -> Value {
    let id = Client::new_id();
    let message = json!({
        "type": "request", "id": id, "origin": "node", "action": format!("user.{action}"),
        "args": args,
    });
    client.push(message.to_string());
    client.reply(&id);
    // Other lines with an id have no origin. An entry may be logged after the reply.
    daemon.wait_for_log(&format!(r#""id":"\"{id}\"","origin""#));
    let mut entries = trail(daemon);
    entries.retain(|entry| entry["id"] == format!("{id:?}"));
    assert_eq!(entries.len(), 1, "{entries:?}");
    let mut entry = entries.remove(0);
    let fields = entry.as_object_mut().unwrap();
    fields.remove("id");
    assert_eq!(fields.remove("origin").unwrap(), r#""node""#);
    let full = format!("{:?}", format!("user.{action}"));
    assert_eq!(fields.remove("action").unwrap(), full);
    entry
}

#[test]
fn each_audited_request_has_one_entry() {
    let redis = RedisServer::start();
    let settings = [
        ("LOG__FORMAT", "json"),
        ("LOG__LEVEL", "info"),
        ("THROTTLE__FAILURES", "2"),
    ];
    let daemon = Daemon::start(&redis, &settings);
    let client = &mut redis.client();
    let mut entry = |action: &str, args: Value| entry_of(&daemon, client, action, args);
    let alice = json!({"user": r#""alice""#, "outcome": "success"});
    assert_eq!(entry("create_user", json!(["alice", "pw"])), alice);
    assert_eq!(entry("authenticate_user", json!(["alice", "pw"])), alice);
    let bob = json!({
        "username": "bob", "password": "pw", "executing_user": "alice",
        "executing_user_password": "pw",
    });
    assert_eq!(
        entry("create_user", bob),
        json!({"user": r#""bob""#, "by": r#""alice""#, "outcome": "success"})
    );
    let delete = json!({
        "username": "bob", "executing_user": "alice", "executing_user_password": "pw",
    });
    assert_eq!(
        entry("delete_user", delete),
        json!({"user": r#""bob""#, "by": r#""alice""#, "outcome": "success"})
    );
    assert_eq!(
        entry("authenticate_session", json!(["nothing"])),
        json!({"outcome": "invalid_session"})
    );
    for outcome in ["invalid_credentials", "invalid_credentials", "throttled"] {
        assert_eq!(
            entry("create_session", json!(["alice", "wrong"])),
            json!({"user": r#""alice""#, "outcome": outcome})
        );
    }
    assert_eq!(
        entry("create_user", json!(["carol", "pw"])),
        json!({"outcome": "authentication_needed"})
    );
}

#[test]
fn an_unknown_name_is_logged_as_a_hash_because_it_may_be_a_password() {
    let redis = RedisServer::start();
    let settings = [("LOG__FORMAT", "json"), ("LOG__LEVEL", "trace")];
    let daemon = Daemon::start(&redis, &settings);
    let client = &mut redis.client();
    let mut login = |name: &str| {
        let entry = entry_of(&daemon, client, "authenticate_user", json!([name, "x"]));
        entry["user"].as_str().unwrap().to_owned()
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

/// Both formats escape every character that a terminal interprets or that ends a line, and omit
/// none.
#[test]
fn client_text_forges_no_log_line() {
    let hidden = [
        '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{200b}', '\u{202e}', '\u{2028}', '\u{feff}',
    ];
    let forged = format!(
        "x\n2026-11-24T10:32:02Z  INFO audit: FORGED {}",
        String::from_iter(hidden)
    );
    for format in ["text", "json"] {
        let setup = Setup::with_hostile_names(&[("LOG__LEVEL", "trace"), ("LOG__FORMAT", format)]);
        let (daemon, mut client) = (setup.daemon, setup.client);
        let old = "al\u{200b}ice\n";
        for (name, password) in [(&*forged, "pw"), (old, "wrong"), (old, "pw")] {
            let id = format!("{}{forged}", Client::new_id());
            let message = json!({
                "type": "request", "id": id, "origin": forged,
                "action": "user.create_session", "args": {"username": name, "password": password},
            });
            client.push(message.to_string());
            client.reply(&id);
        }
        client.push(json!({"action": forged, "id": "y", "args": {&forged: 1}}).to_string());
        client.reply("y");
        daemon.wait_for_log("success");
        daemon.wait_for_log("no_such_plugin");
        let log = daemon.log();
        for line in log.lines() {
            let is_escaped = line
                .find("FORGED")
                .is_none_or(|at| line[..at].contains(r"\n"));
            assert!(is_escaped && !line.contains(hidden), "{line}");
        }
        let backslash = if format == "json" { r"\\" } else { r"\" };
        let escaped = hidden
            .map(|character| character.escape_debug().to_string())
            .concat();
        for text in [escaped, r"al\u{200b}ice\n".into()] {
            let text = text.replace('\\', backslash);
            assert!(log.contains(&text), "{text} is not in {log}");
        }
    }
}

#[test]
fn the_second_factor_of_a_login_and_the_user_of_an_api_token_are_recorded() {
    let redis = RedisServer::start();
    let daemon = Daemon::start(&redis, &[("LOG__FORMAT", "json")]);
    let client = &mut redis.client();
    client.call("create_user", json!(["alice", "pw"])).ok();
    let proposal = json!({"username": "alice", "password": "pw", "dry_run": true});
    let secret = client.call("enable_otp", proposal).ok()["otp_secret"].clone();
    let codes = Codes(TotpSecret::from_base32(secret.as_str().unwrap()).unwrap());
    let enable = json!(["alice", "pw", secret, codes.now()]);
    let backup_codes = client.call("enable_otp", enable).ok()["backup_codes"].clone();
    let token = json!({"username": "alice", "password": "pw", "code": backup_codes[0]});
    let token = client.call("create_api_token", token).ok()["token"].clone();

    let mut entry = |action: &str, args: Value| entry_of(&daemon, client, action, args);
    let success = |factor: Option<&str>| {
        let mut entry = json!({"user": r#""alice""#, "outcome": "success"});
        if let Some(factor) = factor {
            entry["factor"] = json!(factor);
        }
        entry
    };
    assert_eq!(
        entry("create_session", json!(["alice", "pw", codes.next()])),
        success(Some("totp"))
    );
    let backup = json!(["alice", "pw", backup_codes[1]]);
    assert_eq!(
        entry("authenticate_user", backup.clone()),
        success(Some("backup_code"))
    );
    assert_eq!(
        entry("authenticate_user", backup),
        json!({"user": r#""alice""#, "outcome": "invalid_otp_code"})
    );
    assert_eq!(
        entry("authenticate_api_token", json!([token])),
        success(None)
    );
}

/// Regression: 100,000 look-ups of unknown session tokens wrote 35 MiB.
#[test]
fn repeated_entries_that_any_client_can_cause_are_limited_and_counted() {
    let redis = RedisServer::start();
    let settings = [("LOG__FORMAT", "json"), ("THROTTLE__FAILURES", "0")];
    let mut daemon = Daemon::start(&redis, &settings);
    let client = &mut redis.client();
    client.call("create_user", json!(["alice", "pw"])).ok();
    let floods = [
        ("invalid_session", "authenticate_session", 300),
        ("invalid_api_token", "authenticate_api_token", 100),
        ("no_such_session", "delete_session", 100),
        ("invalid_credentials", "authenticate_user", 60),
        ("authentication_needed", "create_user", 60),
    ];
    let mut ids = Vec::new();
    for (_, action, count) in floods {
        for number in 0..count {
            let name = format!("new {number}");
            let args = match action {
                "authenticate_user" | "create_user" => json!([name, "wrong"]),
                _ => json!([name]),
            };
            ids.push(client.send(action, args));
        }
    }
    let wrong = json!(["alice", "wrong"]);
    ids.extend((0..40).map(|_| client.send("authenticate_user", wrong.clone())));
    for id in &ids {
        client.reply(id);
    }
    for _ in 0..50 {
        let request = json!({"type": "request", "action": "user.get_users"});
        client.push(request.to_string());
    }
    client.call("authenticate_session", json!(["the last one"]));
    assert!(daemon.stop().success());

    let entries = trail(&daemon);
    for (outcome, action, count) in floods {
        let count = count + u64::from(outcome == "invalid_session");
        let mut of_kind = entries.iter().filter(|entry| entry["outcome"] == outcome);
        let action = format!("{:?}", format!("user.{action}"));
        let alice = r#""alice""#;
        let lines = of_kind
            .clone()
            .filter(|entry| entry["action"] == action && entry["user"] != alice)
            .count() as u64;
        // Ten a minute are logged; on a loaded machine the test may take several minutes.
        assert!((10..count).contains(&lines), "{lines} {outcome}");
        let counted = of_kind.clone().filter_map(|entry| entry["count"].as_u64());
        assert_eq!(lines + counted.sum::<u64>(), count, "{outcome}");
        if outcome == "invalid_credentials" {
            assert_eq!(of_kind.filter(|entry| entry["user"] == alice).count(), 40);
        } else {
            assert!(of_kind.all(|entry| entry.get("user").is_none()));
        }
    }
    let log = daemon.log();
    let without_id = log
        .matches("\"a request without a usable id: the reply")
        .count();
    assert!((10..50).contains(&without_id), "{without_id}");
}
