//! What a case finds when it begins.

use platypush_userd::clock::{Clock as _, SystemClock};
use platypush_userd::credentials::one_time_code;
use platypush_userd::model::{SecondFactor, TotpSecret};
use platypush_userd::store::sled::SledStore;
use platypush_userd::store::{PasswordWitness, Store as _};
use serde_json::json;

use super::log_in;
use crate::support::{Client, Setup};

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
    /// A session of alice that has expired.
    pub expired: String,
    /// A session that alice has ended.
    pub deleted: String,
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

/// A user with a second factor.
#[derive(Default)]
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
        let alice_id = create(client, "alice", &self.keeper);
        let expired = json!({"username": "alice", "password": "secret", "expires_at": 1});
        let expired = client.call("create_session", expired);
        let deleted = log_in(client, "alice", "secret");
        client.call("delete_session", json!([deleted])).ok();
        let fixture = Fixture {
            keeper_id: 1,
            alice_id,
            next_id: alice_id + 1,
            session: log_in(client, "alice", "secret"),
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

fn create(client: &mut Client, name: &str, session: &str) -> u64 {
    let args = json!({"username": name, "password": "secret", "session_token": session});
    client.call("create_user", args).ok()["user_id"]
        .as_u64()
        .unwrap()
}

/// Gives users of password `secret` a second factor. No action does that yet,
/// so it is done in the store while the daemon is away.
pub fn switch_on_second_factor(setup: &mut Setup, usernames: &[impl AsRef<str>]) {
    setup.daemon.kill();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let store = SledStore::open(&setup.daemon.workdir()).unwrap();
    for username in usernames {
        let username = username.as_ref();
        runtime.block_on(async {
            let user = store.user_by_name(username).await.unwrap().unwrap();
            let seen = PasswordWitness {
                user_id: user.id,
                record: user.password,
                generation: user.generation,
                step: None,
            };
            let factor = SecondFactor {
                secret: Codes::of(username).0,
                last_step: 0,
            };
            store
                .set_second_factor(seen, Some(factor), None)
                .await
                .unwrap();
        });
    }
    drop(store);
    setup.daemon.restart();
}

/// The authenticator of a user.
///
/// A code is good for its own time step of 30 s and the one either side, and
/// once used takes those before it with it. So [`Codes::now`] and after it
/// [`Codes::next`] are good for 30 s at least, wherever in a step the test is.
pub struct Codes(TotpSecret);

impl Codes {
    pub fn of(username: &str) -> Self {
        Self(TotpSecret::new(format!("{username:*>20}").into_bytes()))
    }

    pub fn now(&self) -> String {
        self.at(0)
    }

    pub fn next(&self) -> String {
        self.at(1)
    }

    /// A code of no step that is near.
    pub fn wrong(&self) -> String {
        let near: Vec<_> = (-5..=5).map(|step| self.at(step)).collect();
        (0..)
            .map(|number| format!("{number:06}"))
            .find(|code| !near.contains(code))
            .unwrap()
    }

    fn at(&self, steps_from_now: i64) -> String {
        let step = i64::try_from(one_time_code::STEP_SECONDS).unwrap();
        let away = chrono::TimeDelta::seconds(steps_from_now * step);
        one_time_code::current(&self.0, SystemClock.now() + away)
    }
}
