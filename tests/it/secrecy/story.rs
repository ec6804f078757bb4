//! A long story with everything that can go wrong in it, told to a daemon that
//! logs all it can; then a search for every secret of it.

use std::fs;

use platypush_userd::credentials::{TotpSecret, token_hash};
use platypush_userd::events::KINDS;
use platypush_userd::store::Store as _;
use redis::Commands as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::everything_below;
use super::mistakes::{odd_messages, unreadable_messages, wrong_arguments};
use super::scan::Secrets;
use crate::store_conformance::bench::wait;
use crate::support::{Client, Codes, Daemon, RedisServer, Reply, open_store, wait_until_closed};

/// A text that stands nowhere by chance.
fn unmistakable(name: &str) -> String {
    format!("{name}-{}", &hex::encode(Sha256::digest(name))[..40])
}

/// Who speaks to the daemon, and all that is known to be secret.
pub struct Story {
    pub client: Client,
    request_token: String,
    /// Must stand nowhere.
    secrets: Secrets,
    /// May stand in the database, and nowhere else.
    kept: Secrets,
    session_tokens: Vec<String>,
    /// What was answered, without the tokens it was for.
    replies: Vec<String>,
    /// What Platypush nodes were told.
    events: Vec<String>,
    log: Vec<String>,
    pub dead_letters_due: usize,
}

impl Story {
    /// A new password, known from now on to be secret.
    pub fn password(&mut self, name: &str) -> String {
        let password = unmistakable(name);
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

    /// A message that is not as it should be, with its id in it.
    pub fn call_oddly(&mut self, change: impl FnOnce(&mut Value)) {
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
        // The one place where a token may be shown.
        if let Some(token) = reply.output()["session_token"].as_str() {
            self.secrets.add("a session token", token.as_bytes());
            let hash = token_hash(&token.into());
            self.kept.add("SHA-256 of a session token", &hash.0);
            self.session_tokens.push(token.to_owned());
            raw = raw.replacen(token, "(the token)", 1);
        }
        // Nor may an API token be shown anywhere else.
        if let Some(token) = reply.output()["token"].as_str() {
            self.secrets.add("an API token", token.as_bytes());
            let hash = token_hash(&token.into());
            let hex = hex::encode(hash.0);
            self.kept.add("SHA-256 of an API token", hex.as_bytes());
            raw = raw.replacen(token, "(the token)", 1);
        }
        // Nor may a second factor be shown anywhere else.
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

    /// Nothing is checked of these but that they are refused.
    pub fn refused(&mut self, action: &str, args: Value) {
        let reply = self.call(action, args);
        assert_eq!(reply.errors().len(), 1, "{action}: {reply:?}");
    }

    /// All of them but the ids of sessions, which are made of a hash of which
    /// no more may stand there.
    fn keep_events(&mut self) {
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

    fn keep_log_of(&mut self, daemon: &Daemon) {
        daemon.wait_for_log("(end of log)");
        self.log.push(daemon.log());
    }
}

#[test]
fn no_secret_is_left_anywhere() {
    let redis = RedisServer::start();
    let request_token = unmistakable("request token");
    let redis_password = unmistakable("redis password");
    let mut story = Story {
        client: redis.client(),
        request_token: request_token.clone(),
        secrets: Secrets::default(),
        kept: Secrets::default(),
        session_tokens: Vec::new(),
        replies: Vec::new(),
        events: Vec::new(),
        log: Vec::new(),
        dead_letters_due: 0,
    };
    story.secrets.add_password("request token", &request_token);
    story
        .secrets
        .add_password("redis password", &redis_password);
    let rule = format!(">{redis_password}");
    let _: () = redis::cmd("ACL")
        .arg(&["SETUSER", "daemon", "on", &rule, "~*", "&*", "+@all"])
        .query(&mut story.client.redis)
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
    let alice = people_come_and_go(&mut story);
    wrong_arguments(&mut story);
    odd_messages(&mut story);
    unreadable_messages(&mut story);
    stop_and_kill(&mut story, &mut daemon, &alice);

    wait_until_closed(&daemon.workdir());
    let mut daemon = Daemon::start_in(daemon.folder(), &redis, &settings("json"));
    one_time_codes(&mut story, &alice);
    wrong_arguments(&mut story);
    unreadable_messages(&mut story);
    assert!(daemon.stop().success());
    story.keep_log_of(&daemon);
    story.keep_events();
    story.client.assert_nothing_left();
    search(&mut story, &daemon);
}

/// Right and wrong passwords and sessions; gives alice's password.
fn people_come_and_go(story: &mut Story) -> String {
    let [first, alice, bob, wrong, other] =
        ["first", "alice", "bob", "wrong", "other"].map(|name| story.password(name));
    story.call("create_user", json!(["alice", first])).ok();
    story.refused("create_user", json!(["bob", bob]));
    let as_alice = |password: &str| {
        json!({
            "username": "bob", "password": bob, "executing_user": "alice",
            "executing_user_password": password,
        })
    };
    story.refused("create_user", as_alice(&wrong));
    story.call("create_user", as_alice(&first)).ok();
    story.refused("create_user", as_alice(&first));

    let change = |old: &str| json!(["alice", old, alice, null, true]);
    assert_eq!(story.call("update_password", change(&wrong)).ok(), false);
    assert_eq!(story.call("update_password", change(&first)).ok(), true);
    for (user, password) in [("alice", &alice), ("alice", &first), ("nobody", &wrong)] {
        let args = json!([user, password, null, true]);
        story.call("authenticate_user", args).ok();
        let args = json!({"username": user, "password": password, "code": other});
        story.call("create_session", args);
    }

    let token = story.log_in("alice", &alice);
    story.call("authenticate_session", json!([token])).ok();
    story.call("get_user_by_session", json!([token])).ok();
    let carol = json!({"username": "carol", "password": other, "session_token": token});
    story.call("create_user", carol).ok();
    story
        .call(
            "delete_user",
            json!({"username": "carol", "session_token": token}),
        )
        .ok();
    api_tokens(story, &alice, &token);
    assert_eq!(story.call("delete_session", json!([token])).ok(), true);
    for gone in [token.as_str(), &wrong, "", "0"] {
        story.refused("authenticate_session", json!([gone]));
        story.refused("get_user_by_session", json!([gone]));
        story.refused(
            "delete_user",
            json!({"username": "bob", "session_token": gone}),
        );
        assert_eq!(story.call("delete_session", json!([gone])).ok(), false);
    }
    let args = json!({"username": "bob", "password": bob, "expires_at": 1});
    let expired = story.call("create_session", args).ok()["session_token"].clone();
    story.refused("authenticate_session", json!([expired]));
    alice
}

/// Alice makes two API tokens, uses them and ends one.
fn api_tokens(story: &mut Story, password: &str, session: &str) {
    let [ended, kept] = ["ended", "kept"].map(|name| {
        let args = json!({"username": "alice", "password": password, "name": name});
        story.call("create_api_token", args).ok().clone()
    });
    story
        .call("authenticate_api_token", json!([kept["token"]]))
        .ok();
    story.call("get_api_tokens", json!([session])).ok();
    let end = json!([session, ended["id"]]);
    assert_eq!(story.call("delete_api_token", end).ok(), true);
    story.refused("authenticate_api_token", json!([ended["token"]]));
    story.refused("authenticate_api_token", json!([password]));
}

/// Ends with work under way, in both ways; what was pushed is answered.
fn stop_and_kill(story: &mut Story, daemon: &mut Daemon, alice: &str) {
    for gently in [true, false] {
        let ids: Vec<_> = (0..40)
            .map(|_| {
                let id = Client::new_id();
                let args = json!(["alice", alice]);
                let message = story.message(&id, "user.create_session", &args);
                story.client.push(message.to_string());
                id
            })
            .collect();
        story.answer(&ids[0]).ok();
        if gently {
            assert!(daemon.stop().success());
        } else {
            daemon.kill();
        }
        story.keep_log_of(daemon);
        daemon.restart();
        for id in &ids[1..] {
            story.answer(id).ok();
        }
    }
    assert!(daemon.stop().success());
    story.keep_log_of(daemon);
}

/// Bob gets a second factor and uses its codes.
fn one_time_codes(story: &mut Story, alice: &str) {
    let bob = story.password("bob");
    let bytes = Sha256::digest("the second factor")[..20].to_vec();
    story.secrets.add("second factor", &bytes);
    let codes = Codes(TotpSecret::new(bytes));
    let secret = codes.0.to_base32();
    let enable = |secret: Option<&str>, code: Option<String>| {
        json!({
            "username": "bob", "password": bob, "otp_secret": secret, "code": code,
            "dry_run": code.is_none(),
        })
    };
    story.call("enable_otp", enable(None, None)).ok();
    story.refused("enable_otp", enable(Some(&secret), Some(codes.wrong())));
    let enabled = story.call("enable_otp", enable(Some(&secret), Some(codes.now())));
    let backup_code = &enabled.ok()["backup_codes"][0];

    let log_in = |code: Value| json!({"username": "bob", "password": bob, "code": code});
    story.refused("create_session", log_in(Value::Null));
    let wrong = story.password("no code");
    story.refused("create_session", log_in(json!(wrong)));
    for code in [&json!(codes.next()), backup_code] {
        story.call("create_session", log_in(code.clone())).ok();
        story.refused("create_session", log_in(code.clone()));
    }
    let backup_code = &enabled.ok()["backup_codes"][1];
    let fresh = json!({"username": "bob", "password": bob, "code": backup_code});
    let fresh = story.call("refresh_backup_codes", fresh);
    // The one place where they may be shown.
    story.replies.pop();
    let fresh = fresh.ok().as_array().unwrap();
    for code in fresh {
        let code = code.as_str().unwrap();
        story.secrets.add("new backup code", code.as_bytes());
    }
    let last = json!({"username": "bob", "password": bob, "code": fresh[0]});
    story.call("disable_otp", last).ok();

    let token = story.log_in("alice", alice);
    let user = story.call("get_user_by_session", json!([token]));
    assert_eq!(user.ok()["username"], "alice");
    // A password where a name belongs.
    let args = json!({"username": wrong, "password": bob});
    story.refused("create_session", args);
}

fn search(story: &mut Story, daemon: &Daemon) {
    let store = open_store(&daemon.workdir()).unwrap();
    for user in wait(store.users()).unwrap() {
        let record = user.password.expose().as_bytes();
        story.kept.add("password record", record);
    }
    drop(store);
    let nothing = [""; 0];

    let mut on_disk = Vec::new();
    for path in everything_below(&daemon.workdir()) {
        if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            assert_eq!(
                story.secrets.found_in(&bytes),
                nothing,
                "{}",
                path.display()
            );
            on_disk.extend(bytes);
        }
    }
    // What is kept is found: the search is not blind.
    assert_eq!(
        story.kept.found_in(&on_disk),
        [
            "SHA-256 of a session token (raw)",
            "SHA-256 of an API token (raw)",
            "password record (raw)",
        ]
    );

    assert!(story.session_tokens.len() > 80 && story.replies.len() > 200);
    let log = story.log.join("\n");
    let dead = story.client.dead_letters();
    assert!(log.lines().count() > 200);
    assert_eq!(dead.len(), story.dead_letters_due);
    let events = story.events.join("\n");
    for kind in KINDS {
        assert!(events.contains(&format!("\"{kind}\"")), "no {kind}");
    }
    assert!(events.contains(r#""username": null"#));
    for (place, text) in [
        ("the log", log),
        ("a dead letter", json!(dead).to_string()),
        ("a reply", story.replies.join("\n")),
        ("an event", events),
    ] {
        assert_eq!(story.secrets.found_in(text.as_bytes()), nothing, "{place}");
        assert_eq!(story.kept.found_in(text.as_bytes()), nothing, "{place}");
    }
}
