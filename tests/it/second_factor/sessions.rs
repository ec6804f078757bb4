//! A user lists and ends its own sessions.

use serde_json::{Value, json};

use super::{Enrolled, create};
use crate::contract::shape::is_time;
use crate::support::{Client, Setup};

/// Creates alice without a session and bob with a session.
fn alice_and_bob() -> (Setup, Session) {
    let mut setup = Setup::with_alice(&[]);
    let session = setup.session_of_alice();
    create(&mut setup.client, "bob", &session);
    setup.client.call("delete_session", json!([session])).ok();
    let bob = Session::new(&mut setup.client, "bob");
    (setup, bob)
}

struct Session {
    token: String,
    id: String,
}

impl Session {
    #[track_caller]
    fn new(client: &mut Client, name: &str) -> Self {
        let made = client.call("create_session", json!([name, "secret"]));
        let token = made.ok()["session_token"].as_str().unwrap().to_owned();
        let listed = list(client, &token);
        let this = listed.iter().find(|it| it["current"] == true).unwrap();
        Self {
            id: this["session_id"].as_str().unwrap().to_owned(),
            token,
        }
    }

    fn is_valid(&self, client: &mut Client) -> bool {
        let reply = client.call("authenticate_session", json!([self.token]));
        let valid = reply.errors().is_empty();
        if !valid {
            reply.fails("Invalid session token");
        }
        valid
    }
}

#[track_caller]
fn list(client: &mut Client, token: &str) -> Vec<Value> {
    let listed = client.call("get_sessions", json!([token]));
    listed.ok().as_array().unwrap().clone()
}

#[test]
fn a_user_sees_its_own_valid_sessions_in_order() {
    let (mut setup, _) = alice_and_bob();
    let client = &mut setup.client;
    let login = json!({"username": "alice", "password": "secret", "expires_at": "2031-01-01"});
    let first = client.call("create_session", login).ok().clone();
    let expired = json!({"username": "alice", "password": "secret", "expires_at": 1});
    client.call("create_session", expired).ok();
    let ended = Session::new(client, "alice");
    client.call("delete_session", json!([ended.token])).ok();
    let last = Session::new(client, "alice");

    let listed = list(client, &last.token);
    let keys = ["session_id", "created_at", "expires_at", "current"];
    for session in &listed {
        assert!(session.as_object().unwrap().keys().eq(keys), "{session}");
        assert!(is_time(session["created_at"].as_str().unwrap()));
    }
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!(listed[0]["created_at"], first["created_at"]);
    assert_eq!(listed[0]["expires_at"], "2031-01-01T00:00:00.000000");
    assert_eq!(listed[0]["current"], false);
    assert_eq!(listed[1]["session_id"], last.id);
    assert_eq!(listed[1]["expires_at"], Value::Null);
    assert_eq!(listed[1]["current"], true);

    // In the list of the other session, only `current` differs.
    let seen = list(client, first["session_token"].as_str().unwrap());
    let ids = |listed: &[Value]| -> Vec<_> {
        let ids = listed.iter().map(|session| session["session_id"].clone());
        ids.collect()
    };
    assert_eq!(ids(&seen), ids(&listed));
    assert_eq!([&seen[0]["current"], &seen[1]["current"]], [true, false]);
}

#[test]
fn a_session_id_is_not_part_of_a_token() {
    let (mut setup, bob) = alice_and_bob();
    let client = &mut setup.client;
    assert!(!bob.token.contains(&bob.id));
    let reply = client.call("authenticate_session", json!([bob.id]));
    reply.fails("Invalid session token");
    let reply = client.call("get_sessions", json!([bob.id]));
    reply.fails("Invalid session token");
}

#[test]
fn a_user_ends_only_own_sessions_by_id() {
    let (mut setup, bob) = alice_and_bob();
    let client = &mut setup.client;
    let [first, second] = [(); 2].map(|()| Session::new(client, "alice"));
    let end = |id: &str| {
        let args = json!({"username": "alice", "password": "secret", "session_id": id});
        ("delete_sessions", args)
    };
    for (id, ended) in [
        (&*first.id, true),
        (&first.id, false),
        (&bob.id, false),
        ("0123456789abcdef", false),
        ("0000000000000000", false),
    ] {
        let (action, args) = end(id);
        assert_eq!(client.call(action, args).ok(), ended, "{id}");
    }
    assert!(!first.is_valid(client));
    assert!(second.is_valid(client) && bob.is_valid(client));
    let left = list(client, &second.token);
    assert!(left.iter().map(|it| &it["session_id"]).eq([&second.id]));
}

#[test]
fn a_user_ends_all_own_sessions_at_once() {
    let (mut setup, bob) = alice_and_bob();
    let client = &mut setup.client;
    let old = [(); 3].map(|()| Session::new(client, "alice"));
    for password in ["wrong", "secret"] {
        let reply = client.call("delete_sessions", json!(["alice", password]));
        if password == "wrong" {
            reply.fails("Invalid credentials");
        } else {
            assert_eq!(reply.ok(), true);
        }
        let valid = password == "wrong";
        assert!(old.iter().all(|it| it.is_valid(client) == valid));
    }
    let new = Session::new(client, "alice");
    assert!(new.is_valid(client) && bob.is_valid(client));
    assert_eq!(list(client, &new.token).len(), 1);

    // The ended sessions stay invalid.
    setup.daemon.kill();
    setup.daemon.restart();
    let client = &mut setup.client;
    assert!(old.iter().all(|it| !it.is_valid(client)));
    assert!(new.is_valid(client) && bob.is_valid(client));
}

#[test]
fn ending_sessions_needs_the_code_of_a_second_factor() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let session = Session::new(client, "alice");
    let alice = Enrolled::new(client, "alice");
    let end = |code: Value| {
        let args = json!(["alice", "secret", code, session.id]);
        ("delete_sessions", args)
    };
    for (code, error) in [
        (Value::Null, "missing_otp_code"),
        (json!(alice.codes.wrong()), "invalid_otp_code"),
    ] {
        let (action, args) = end(code);
        client.call(action, args).fails(error);
    }
    assert!(session.is_valid(client));
    let code = &alice.backup_codes[0];
    for ended in [true, false] {
        let (action, args) = end(json!(alice.backup_codes[usize::from(!ended)]));
        assert_eq!(client.call(action, args).ok(), ended);
    }
    assert!(!session.is_valid(client));
    // A request with an unknown session id uses up its code, too.
    alice.assert_rejected(client, code);
    alice.assert_rejected(client, &alice.backup_codes[1]);
}
