//! What a case finds when it begins.

use serde_json::json;

use super::log_in;
use crate::support::{Client, Codes, Setup, enrol, wait_until_closed};

/// A daemon for the cases of one action. It has a keeper, a user whom no case
/// knows of, and a supply of users with a second factor.
pub struct Stage {
    setup: Setup,
    keeper: String,
    unused: Vec<String>,
}

/// What the arguments and answers of a case speak of.
#[derive(Default)]
pub struct Fixture {
    /// Of the keeper, the first user.
    pub keeper_id: u64,
    /// Of `alice`, whose password is `secret`.
    pub alice_id: u64,
    /// Of the user that is created next.
    pub next_id: u64,
    /// A valid session of alice.
    pub session: String,
    /// How `get_sessions` names it.
    pub session_id: String,
    /// The authenticator of alice, which is not switched on.
    pub authenticator: Authenticator,
    /// A session of alice that has expired.
    pub expired: String,
    /// A session that alice has ended.
    pub deleted: String,
    /// A valid API token of alice, which is called `script`.
    pub api_token: String,
    /// How `get_api_tokens` names it.
    pub api_token_id: u64,
    /// Of the API token that is made next.
    pub next_api_token_id: u64,
    /// An API token of alice that has expired.
    pub expired_api_token: String,
    /// An API token that alice has ended.
    pub deleted_api_token: String,
    /// An API token of a user who is gone.
    pub api_token_of_nobody: String,
    /// A user with a second factor, whose password is `secret`.
    pub otto: Otto,
}

impl Fixture {
    /// While there is no user.
    pub fn of_nobody() -> Self {
        Self {
            next_id: 1,
            ..Self::default()
        }
    }
}

/// What an authenticator holds and shows.
#[derive(Default)]
pub struct Authenticator {
    /// In base32.
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
    /// A session made with a code.
    pub session: String,
    /// A code that is good once.
    pub code: String,
    /// A code that is not good.
    pub wrong_code: String,
}

impl Default for Otto {
    /// While there is none.
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
    /// With so many users with a second factor.
    pub fn new(ottos: usize) -> Self {
        let mut setup = Setup::new();
        let client = &mut setup.client;
        client.call("create_user", json!(["keeper", "kept"])).ok();
        let keeper = log_in(client, "keeper", "kept");
        let unused: Vec<_> = (0..ottos).map(|n| format!("otto{n}")).collect();
        for name in &unused {
            create(client, name, &keeper);
        }
        if !unused.is_empty() {
            switch_on_second_factor(&mut setup, &unused);
        }
        Self {
            setup,
            keeper,
            unused,
        }
    }

    /// Removes what the last case left behind: there are the keeper, a new
    /// alice and, if wanted, a user with a second factor.
    pub fn fresh(&mut self, with_otto: bool) -> (Fixture, &mut Client) {
        let client = &mut self.setup.client;
        let users = client.call("get_users", json!({}));
        for user in users.ok().as_array().unwrap() {
            let name = user["username"].as_str().unwrap();
            if name != "keeper" && !self.unused.iter().any(|unused| unused == name) {
                let args = json!({"username": name, "session_token": self.keeper});
                client.call("delete_user", args).ok();
            }
        }
        create(client, "bob", &self.keeper);
        let (api_token_of_nobody, _) = make_api_token(client, "bob", "script", None);
        let args = json!({"username": "bob", "session_token": self.keeper});
        client.call("delete_user", args).ok();
        let alice_id = create(client, "alice", &self.keeper);
        let expired = json!({"username": "alice", "password": "secret", "expires_at": 1});
        let expired = client.call("create_session", expired);
        let deleted = log_in(client, "alice", "secret");
        client.call("delete_session", json!([deleted])).ok();
        let session = log_in(client, "alice", "secret");
        let (expired_api_token, _) = make_api_token(client, "alice", "expired", Some(1));
        let (deleted_api_token, id) = make_api_token(client, "alice", "deleted", None);
        client.call("delete_api_token", json!([session, id])).ok();
        let (api_token, api_token_id) = make_api_token(client, "alice", "script", None);
        let fixture = Fixture {
            api_token,
            api_token_id,
            next_api_token_id: api_token_id + 1,
            expired_api_token,
            deleted_api_token,
            api_token_of_nobody,
            keeper_id: 1,
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

/// The id of the session with that token.
fn id_of(client: &mut Client, token: &str) -> String {
    let listed = client.call("get_sessions", json!([token]));
    let listed = listed.ok().as_array().unwrap();
    let current = listed.iter().find(|session| session["current"] == true);
    current.unwrap()["session_id"].as_str().unwrap().to_owned()
}

/// An API token of a user whose password is `secret`, and its id.
fn make_api_token(
    client: &mut Client,
    username: &str,
    name: &str,
    expires_at: Option<i64>,
) -> (String, u64) {
    let args = json!({"username": username, "password": "secret", "name": name,
        "expires_at": expires_at});
    let made = client.call("create_api_token", args);
    let token = made.ok()["token"].as_str().unwrap().to_owned();
    (token, made.ok()["id"].as_u64().unwrap())
}

fn create(client: &mut Client, name: &str, session: &str) -> u64 {
    let args = json!({"username": name, "password": "secret", "session_token": session});
    client.call("create_user", args).ok()["user_id"]
        .as_u64()
        .unwrap()
}

/// Gives users a second factor, in the store while the daemon is away: so
/// none of their codes is used yet.
pub fn switch_on_second_factor(setup: &mut Setup, usernames: &[impl AsRef<str>]) {
    setup.daemon.kill();
    for username in usernames {
        enrol(&setup.daemon.workdir(), username.as_ref());
    }
    wait_until_closed(&setup.daemon.workdir());
    setup.daemon.restart();
}
