//! The daemon and the users for the cases of an action.

use serde_json::json;

use super::log_in;
use crate::support::{Client, Codes, Setup, enrol, wait_until_closed};

/// A daemon for the cases of one action. It has the user `admin`, who deletes the other users
/// after a case, and a supply of users with a second factor.
pub struct Stage {
    setup: Setup,
    /// Session of `admin`.
    admin: String,
    /// Users with a second factor that no case has used yet.
    unused: Vec<String>,
}

/// Values for the arguments and answers of a case.
#[derive(Default)]
pub struct Fixture {
    /// Id of `admin`, the first user.
    pub admin_id: u64,
    /// Id of `alice`, whose password is `secret`.
    pub alice_id: u64,
    /// Id of the next created user.
    pub next_id: u64,
    /// A valid session of alice.
    pub session: String,
    /// Id of this session in `get_sessions`.
    pub session_id: String,
    /// The authenticator of alice, whose second factor is not enabled.
    pub authenticator: Authenticator,
    /// An expired session of alice.
    pub expired: String,
    /// A deleted session of alice.
    pub deleted: String,
    /// A valid API token of alice, named `script`.
    pub api_token: String,
    /// Id of this token in `get_api_tokens`.
    pub api_token_id: u64,
    /// Id of the next created API token.
    pub next_api_token_id: u64,
    /// An expired API token of alice.
    pub expired_api_token: String,
    /// A deleted API token of alice.
    pub deleted_api_token: String,
    /// An API token of a deleted user.
    pub api_token_of_deleted_user: String,
    /// A user with a second factor and the password `secret`.
    pub otto: Otto,
}

impl Fixture {
    /// Returns the fixture for an empty database.
    pub fn without_users() -> Self {
        Self {
            next_id: 1,
            ..Self::default()
        }
    }
}

/// Secret and codes of an authenticator.
#[derive(Default)]
pub struct Authenticator {
    /// Secret in base32.
    pub secret: String,
    pub code: String,
    pub wrong_code: String,
}

impl Authenticator {
    fn new(username: &str) -> Self {
        let codes = Codes::of(username);
        Self {
            secret: codes.0.to_base32().to_string(),
            code: codes.now(),
            wrong_code: codes.wrong(),
        }
    }
}

/// A user with a second factor.
pub struct Otto {
    pub name: String,
    pub id: u64,
    /// A session created with a code.
    pub session: String,
    /// A code that is valid once.
    pub code: String,
    /// A wrong code.
    pub wrong_code: String,
}

impl Default for Otto {
    /// Returns a placeholder for cases without a second factor.
    fn default() -> Self {
        Self {
            name: "otto".into(),
            id: 0,
            session: String::new(),
            code: String::new(),
            wrong_code: String::new(),
        }
    }
}

impl Stage {
    /// Starts the daemon and creates this many users with a second factor.
    pub fn new(ottos: usize) -> Self {
        let mut setup = Setup::new();
        let client = &mut setup.client;
        client
            .call("create_user", json!(["admin", "admin-secret"]))
            .ok();
        let admin = log_in(client, "admin", "admin-secret");
        let unused: Vec<_> = (0..ottos).map(|n| format!("otto{n}")).collect();
        for name in &unused {
            create(client, name, &admin);
        }
        if !unused.is_empty() {
            enable_second_factor(&mut setup, &unused);
        }
        Self {
            setup,
            admin,
            unused,
        }
    }

    /// Deletes the users of the last case, creates `alice` anew and, if `with_otto`, provides an
    /// unused user with a second factor.
    pub fn fresh(&mut self, with_otto: bool) -> (Fixture, &mut Client) {
        let client = &mut self.setup.client;
        let users = client.call("get_users", json!({}));
        for user in users.ok().as_array().unwrap() {
            let name = user["username"].as_str().unwrap();
            if name != "admin" && !self.unused.iter().any(|unused| unused == name) {
                let args = json!({"username": name, "session_token": self.admin});
                client.call("delete_user", args).ok();
            }
        }
        create(client, "bob", &self.admin);
        let (api_token_of_deleted_user, _) = create_api_token(client, "bob", "script", None);
        let args = json!({"username": "bob", "session_token": self.admin});
        client.call("delete_user", args).ok();
        let alice_id = create(client, "alice", &self.admin);
        let expired = json!({"username": "alice", "password": "secret", "expires_at": 1});
        let expired = client.call("create_session", expired);
        let deleted = log_in(client, "alice", "secret");
        client.call("delete_session", json!([deleted])).ok();
        let session = log_in(client, "alice", "secret");
        let (expired_api_token, _) = create_api_token(client, "alice", "expired", Some(1));
        let (deleted_api_token, id) = create_api_token(client, "alice", "deleted", None);
        client.call("delete_api_token", json!([session, id])).ok();
        let (api_token, api_token_id) = create_api_token(client, "alice", "script", None);
        let fixture = Fixture {
            api_token,
            api_token_id,
            next_api_token_id: api_token_id + 1,
            expired_api_token,
            deleted_api_token,
            api_token_of_deleted_user,
            admin_id: 1,
            alice_id,
            next_id: alice_id + 1,
            session_id: id_of(client, &session),
            session,
            authenticator: Authenticator::new("alice"),
            expired: expired.ok()["session_token"].as_str().unwrap().into(),
            deleted,
            otto: if with_otto {
                self.next_otto()
            } else {
                Otto::default()
            },
        };
        (fixture, &mut self.setup.client)
    }

    fn next_otto(&mut self) -> Otto {
        let name = self.unused.pop().expect("more users with a second factor");
        let args = json!([name, "secret", Codes::of(&name).now()]);
        let session = self.setup.client.call("create_session", args);
        Otto {
            id: session.ok()["user_id"].as_u64().unwrap(),
            session: session.ok()["session_token"].as_str().unwrap().into(),
            code: Codes::of(&name).next(),
            wrong_code: Codes::of(&name).wrong(),
            name,
        }
    }
}

/// Returns the id of the session with this token.
fn id_of(client: &mut Client, token: &str) -> String {
    let listed = client.call("get_sessions", json!([token]));
    let listed = listed.ok().as_array().unwrap();
    let current = listed.iter().find(|session| session["current"] == true);
    current.unwrap()["session_id"].as_str().unwrap().to_owned()
}

/// Creates an API token of a user whose password is `secret`. Returns the token and its id.
fn create_api_token(
    client: &mut Client,
    username: &str,
    name: &str,
    expires_at: Option<i64>,
) -> (String, u64) {
    let args = json!({"username": username, "password": "secret", "name": name,
        "expires_at": expires_at});
    let created = client.call("create_api_token", args);
    let token = created.ok()["token"].as_str().unwrap().to_owned();
    (token, created.ok()["id"].as_u64().unwrap())
}

fn create(client: &mut Client, name: &str, session: &str) -> u64 {
    let args = json!({"username": name, "password": "secret", "session_token": session});
    client.call("create_user", args).ok()["user_id"]
        .as_u64()
        .unwrap()
}

/// Enables the second factor of users directly in the store while the daemon is stopped, so that
/// none of their codes is used yet.
pub fn enable_second_factor(setup: &mut Setup, usernames: &[impl AsRef<str>]) {
    setup.daemon.kill();
    for username in usernames {
        enrol(&setup.daemon.workdir(), username.as_ref());
    }
    wait_until_closed(&setup.daemon.workdir());
    setup.daemon.restart();
}
