//! A long scenario with every kind of failure, run against a daemon that logs at level `trace`,
//! followed by a search for all its secrets.

use std::fs;

use platypush_userd::credentials::{TotpSecret, token_hash};
use platypush_userd::events::KINDS;
use platypush_userd::store::Store as _;
use redis::Commands as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::mistakes::{refused_messages, unreadable_messages, wrong_arguments};
use super::scan::Secrets;
use super::walk;
use crate::store_conformance::bench::wait;
use crate::support::{Client, Codes, Daemon, RedisServer, Reply, open_store, wait_until_closed};

/// Returns a text that cannot occur by chance.
fn unique_text(name: &str) -> String {
    format!("{name}-{}", &hex::encode(Sha256::digest(name))[..40])
}

/// The client of the daemon, all secrets, and all output to search.
pub struct Scenario {
    pub client: Client,
    request_token: String,
    /// Must not occur anywhere.
    secrets: Secrets,
    /// May occur in the database and nowhere else.
    stored: Secrets,
    session_tokens: Vec<String>,
    /// The replies, without the tokens that were requested.
    replies: Vec<String>,
    /// The events for Platypush nodes.
    events: Vec<String>,
    log: Vec<String>,
    pub expected_dead_letters: usize,
}

impl Scenario {
    /// Returns a new password and adds it to the secrets.
    pub fn password(&mut self, name: &str) -> String {
        let password = unique_text(name);
        self.secrets.add_password(name, &password);
        password
    }

    fn message(&self, id: &str, action: &str, args: &Value) -> Value {
        json!({
            "type": "request", "id": id, "action": action, "args": args,
            "origin": "somebody", "token": self.request_token,
        })
    }

    pub fn call(&mut self, action: &str, args: Value) -> Reply {
        let id = Client::new_id();
        let message = self.message(&id, &format!("user.{action}"), &args);
        self.client.push(message.to_string());
        self.answer(&id)
    }

    /// Sends a login that `change` has made invalid and asserts that it is refused.
    pub fn call_changed(&mut self, change: impl FnOnce(&mut Value)) {
        let id = Client::new_id();
        let args = json!({"username": "alice", "password": self.password(&id)});
        let mut message = self.message(&id, "user.authenticate_user", &args);
        change(&mut message);
        self.client.push(message.to_string());
        assert_eq!(self.answer(&id).errors().len(), 1, "{id}");
    }

    pub fn answer(&mut self, id: &str) -> Reply {
        let mut raw = self.client.raw_reply(id);
        let reply = Reply(serde_json::from_str(&raw).unwrap());
        // A token may appear in this reply only.
        if let Some(token) = reply.output()["session_token"].as_str() {
            self.secrets.add("a session token", token.as_bytes());
            let hash = token_hash(&token.into());
            self.stored.add("SHA-256 of a session token", &hash.0);
            self.session_tokens.push(token.to_owned());
            raw = raw.replacen(token, "(the token)", 1);
        }
        // Same for an API token.
        if let Some(token) = reply.output()["token"].as_str() {
            self.secrets.add("an API token", token.as_bytes());
            let hash = token_hash(&token.into());
            let hex = hex::encode(hash.0);
            self.stored.add("SHA-256 of an API token", hex.as_bytes());
            raw = raw.replacen(token, "(the token)", 1);
        }
        // Same for a second factor.
        if let Some(secret) = reply.output()["otp_secret"].as_str() {
            self.secrets.add("second factor", secret.as_bytes());
            for code in reply.output()["backup_codes"].as_array().unwrap() {
                let code = code.as_str().unwrap();
                self.secrets.add("backup code", code.as_bytes());
            }
            raw = String::new();
        }
        self.replies.push(raw);
        reply
    }

    fn log_in(&mut self, username: &str, password: &str) -> String {
        let args = json!({"username": username, "password": password});
        let reply = self.call("create_session", args);
        reply.ok()["session_token"].as_str().unwrap().to_owned()
    }

    /// Sends a request and asserts that it is refused.
    pub fn call_refused(&mut self, action: &str, args: Value) {
        let reply = self.call(action, args);
        assert_eq!(reply.errors().len(), 1, "{action}: {reply:?}");
    }

    /// Collects the events, without the session ids: an id is derived from the token hash, and no
    /// more of the hash may occur.
    fn collect_events(&mut self) {
        let events: Vec<String> = self.client.redis.lrange("events", 0, -1).unwrap();
        let _: () = self.client.redis.del("events").unwrap();
        self.events.extend(events.into_iter().map(|event| {
            let parsed: Value = serde_json::from_str(&event).unwrap();
            let Some(id) = parsed["args"]["session_id"].as_str() else {
                return event;
            };
            assert_eq!(id.len(), 16, "{event}");
            event.replace(id, "")
        }));
    }

    fn collect_log(&mut self, daemon: &Daemon) {
        daemon.wait_for_log("(end of log)");
        self.log.push(daemon.log());
    }
}

#[test]
fn no_secret_leaks() {
    let redis = RedisServer::start();
    let request_token = unique_text("request token");
    let redis_password = unique_text("redis password");
    let mut scenario = Scenario {
        client: redis.client(),
        request_token: request_token.clone(),
        secrets: Secrets::default(),
        stored: Secrets::default(),
        session_tokens: Vec::new(),
        replies: Vec::new(),
        events: Vec::new(),
        log: Vec::new(),
        expected_dead_letters: 0,
    };
    scenario
        .secrets
        .add_password("request token", &request_token);
    scenario
        .secrets
        .add_password("redis password", &redis_password);
    let rule = format!(">{redis_password}");
    let _: () = redis::cmd("ACL")
        .arg(&["SETUSER", "daemon", "on", &rule, "~*", "&*", "+@all"])
        .query(&mut scenario.client.redis)
        .unwrap();
    let url = format!("{}?user=daemon&pass={redis_password}", redis.url());
    let token_hash = hex::encode(Sha256::digest(&request_token));
    let settings = |format| {
        vec![
            ("REDIS__URL", url.as_str()),
            ("TOKEN_HASH", token_hash.as_str()),
            ("MAX_MESSAGE_SIZE", "20000"),
            ("ACCEPT_ANY_TARGET", "false"),
            ("EVENTS__PUBLISH", "list:events"),
            ("LOG__LEVEL", "trace"),
            ("LOG__FORMAT", format),
        ]
    };

    let mut daemon = Daemon::start(&redis, &settings("text"));
    let alice = users_and_sessions(&mut scenario);
    wrong_arguments(&mut scenario);
    refused_messages(&mut scenario);
    unreadable_messages(&mut scenario);
    stop_and_kill(&mut scenario, &mut daemon, &alice);

    wait_until_closed(&daemon.workdir());
    let mut daemon = Daemon::start_in(daemon.folder(), &redis, &settings("json"));
    one_time_codes(&mut scenario, &alice);
    wrong_arguments(&mut scenario);
    unreadable_messages(&mut scenario);
    assert!(daemon.stop().success());
    scenario.collect_log(&daemon);
    scenario.collect_events();
    scenario.client.assert_nothing_left();
    assert_no_leaks(&mut scenario, &daemon);
}

/// Uses valid and invalid passwords and sessions, and returns the password of alice.
fn users_and_sessions(scenario: &mut Scenario) -> String {
    let [first, alice, bob, wrong, other] =
        ["first", "alice", "bob", "wrong", "other"].map(|name| scenario.password(name));
    scenario.call("create_user", json!(["alice", first])).ok();
    scenario.call_refused("create_user", json!(["bob", bob]));
    let as_alice = |password: &str| {
        json!({
            "username": "bob", "password": bob, "executing_user": "alice",
            "executing_user_password": password,
        })
    };
    scenario.call_refused("create_user", as_alice(&wrong));
    scenario.call("create_user", as_alice(&first)).ok();
    scenario.call_refused("create_user", as_alice(&first));

    let change = |old: &str| json!(["alice", old, alice, null, true]);
    assert_eq!(scenario.call("update_password", change(&wrong)).ok(), false);
    assert_eq!(scenario.call("update_password", change(&first)).ok(), true);
    for (user, password) in [("alice", &alice), ("alice", &first), ("nobody", &wrong)] {
        let args = json!([user, password, null, true]);
        scenario.call("authenticate_user", args).ok();
        let args = json!({"username": user, "password": password, "code": other});
        scenario.call("create_session", args);
    }

    let token = scenario.log_in("alice", &alice);
    scenario.call("authenticate_session", json!([token])).ok();
    scenario.call("get_user_by_session", json!([token])).ok();
    let carol = json!({"username": "carol", "password": other, "session_token": token});
    scenario.call("create_user", carol).ok();
    scenario
        .call(
            "delete_user",
            json!({"username": "carol", "session_token": token}),
        )
        .ok();
    api_tokens(scenario, &alice, &token);
    assert_eq!(scenario.call("delete_session", json!([token])).ok(), true);
    for gone in [token.as_str(), &wrong, "", "0"] {
        scenario.call_refused("authenticate_session", json!([gone]));
        scenario.call_refused("get_user_by_session", json!([gone]));
        scenario.call_refused(
            "delete_user",
            json!({"username": "bob", "session_token": gone}),
        );
        assert_eq!(scenario.call("delete_session", json!([gone])).ok(), false);
    }
    let args = json!({"username": "bob", "password": bob, "expires_at": 1});
    let expired = scenario.call("create_session", args).ok()["session_token"].clone();
    scenario.call_refused("authenticate_session", json!([expired]));
    alice
}

/// Creates two API tokens of alice, uses them and deletes one.
fn api_tokens(scenario: &mut Scenario, password: &str, session: &str) {
    let [deleted, kept] = ["deleted", "kept"].map(|name| {
        let args = json!({"username": "alice", "password": password, "name": name});
        scenario.call("create_api_token", args).ok().clone()
    });
    scenario
        .call("authenticate_api_token", json!([kept["token"]]))
        .ok();
    scenario.call("get_api_tokens", json!([session])).ok();
    let delete = json!([session, deleted["id"]]);
    assert_eq!(scenario.call("delete_api_token", delete).ok(), true);
    scenario.call_refused("authenticate_api_token", json!([deleted["token"]]));
    scenario.call_refused("authenticate_api_token", json!([password]));
}

/// Stops and kills the daemon with requests in flight. All of them are answered afterwards.
fn stop_and_kill(scenario: &mut Scenario, daemon: &mut Daemon, alice: &str) {
    for graceful in [true, false] {
        let ids: Vec<_> = (0..40)
            .map(|_| {
                let id = Client::new_id();
                let args = json!(["alice", alice]);
                let message = scenario.message(&id, "user.create_session", &args);
                scenario.client.push(message.to_string());
                id
            })
            .collect();
        scenario.answer(&ids[0]).ok();
        if graceful {
            assert!(daemon.stop().success());
        } else {
            daemon.kill();
        }
        scenario.collect_log(daemon);
        daemon.restart();
        for id in &ids[1..] {
            scenario.answer(id).ok();
        }
    }
    assert!(daemon.stop().success());
    scenario.collect_log(daemon);
}

/// Enables a second factor of bob and uses its codes.
fn one_time_codes(scenario: &mut Scenario, alice: &str) {
    let bob = scenario.password("bob");
    let bytes = Sha256::digest("the second factor")[..20].to_vec();
    scenario.secrets.add("second factor", &bytes);
    let codes = Codes(TotpSecret::new(bytes));
    let secret = codes.0.to_base32();
    let enable = |secret: Option<&str>, code: Option<String>| {
        json!({
            "username": "bob", "password": bob, "otp_secret": secret, "code": code,
            "dry_run": code.is_none(),
        })
    };
    scenario.call("enable_otp", enable(None, None)).ok();
    scenario.call_refused("enable_otp", enable(Some(&secret), Some(codes.wrong())));
    let enabled = scenario.call("enable_otp", enable(Some(&secret), Some(codes.now())));
    let backup_code = &enabled.ok()["backup_codes"][0];

    let log_in = |code: Value| json!({"username": "bob", "password": bob, "code": code});
    scenario.call_refused("create_session", log_in(Value::Null));
    let wrong = scenario.password("no code");
    scenario.call_refused("create_session", log_in(json!(wrong)));
    for code in [&json!(codes.next()), backup_code] {
        scenario.call("create_session", log_in(code.clone())).ok();
        scenario.call_refused("create_session", log_in(code.clone()));
    }
    let backup_code = &enabled.ok()["backup_codes"][1];
    let fresh = json!({"username": "bob", "password": bob, "code": backup_code});
    let fresh = scenario.call("refresh_backup_codes", fresh);
    // Backup codes may appear in this reply only.
    scenario.replies.pop();
    let fresh = fresh.ok().as_array().unwrap();
    for code in fresh {
        let code = code.as_str().unwrap();
        scenario.secrets.add("new backup code", code.as_bytes());
    }
    let last = json!({"username": "bob", "password": bob, "code": fresh[0]});
    scenario.call("disable_otp", last).ok();

    let token = scenario.log_in("alice", alice);
    let user = scenario.call("get_user_by_session", json!([token]));
    assert_eq!(user.ok()["username"], "alice");
    // A password in the place of a name.
    let args = json!({"username": wrong, "password": bob});
    scenario.call_refused("create_session", args);
}

fn assert_no_leaks(scenario: &mut Scenario, daemon: &Daemon) {
    let store = open_store(&daemon.workdir()).unwrap();
    for user in wait(store.users()).unwrap() {
        let record = user.password.expose().as_bytes();
        scenario.stored.add("password record", record);
    }
    drop(store);
    let nothing = [""; 0];

    let mut on_disk = Vec::new();
    for path in walk(&daemon.workdir()) {
        if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            assert_eq!(
                scenario.secrets.found_in(&bytes),
                nothing,
                "{}",
                path.display()
            );
            on_disk.extend(bytes);
        }
    }
    // The search finds the stored hashes, so it works.
    assert_eq!(
        scenario.stored.found_in(&on_disk),
        [
            "SHA-256 of a session token (raw)",
            "SHA-256 of an API token (raw)",
            "password record (raw)",
        ]
    );

    assert!(scenario.session_tokens.len() > 80 && scenario.replies.len() > 200);
    let log = scenario.log.join("\n");
    let dead = scenario.client.dead_letters();
    assert!(log.lines().count() > 200);
    assert_eq!(dead.len(), scenario.expected_dead_letters);
    let events = scenario.events.join("\n");
    for kind in KINDS.iter().map(|kind| kind.name) {
        assert!(events.contains(&format!("\"{kind}\"")), "no {kind}");
    }
    assert!(events.contains(r#""username": null"#));
    for (place, text) in [
        ("the log", log),
        ("a dead letter", json!(dead).to_string()),
        ("a reply", scenario.replies.join("\n")),
        ("an event", events),
    ] {
        assert_eq!(
            scenario.secrets.found_in(text.as_bytes()),
            nothing,
            "{place}"
        );
        assert_eq!(
            scenario.stored.found_in(text.as_bytes()),
            nothing,
            "{place}"
        );
    }
}
