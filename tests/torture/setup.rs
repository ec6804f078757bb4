//! Setup of one daemon with its own queue and an administrator, and the checks at the end of a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use platypush_userd::store::{Store as _, sled::SledStore};
use redis::{Commands as _, Connection};
use serde_json::{Value, json};

use crate::actor::{Actor, REPLIES, exchange};
use crate::daemon::{Installation, Process, TEST_TIMEOUT};
use crate::ledger::Ledger;
use crate::message;
use crate::random::Random;
use crate::server::connect;

/// Interval for polling Redis and the crash journal, which send no notification.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

pub struct Setup {
    pub installation: Installation,
    pub queue: String,
    pub ledger: Arc<Ledger>,
    /// The socket of Redis itself, not of a proxy.
    pub socket: PathBuf,
    admin: Arc<str>,
    request_numbers: AtomicU64,
    /// Number of users created by the setup itself.
    own_users: AtomicU64,
}

impl Setup {
    /// Starts a daemon that connects to Redis through `daemon_socket`, and creates the
    /// administrator.
    pub fn start(
        socket: &Path,
        daemon_socket: &Path,
        queue: &str,
        ledger: &Arc<Ledger>,
    ) -> (Self, Process) {
        Self::start_with(socket, daemon_socket, queue, ledger, &[])
    }

    /// Like [`Self::start`], with additional environment variables.
    pub fn start_with(
        socket: &Path,
        daemon_socket: &Path,
        queue: &str,
        ledger: &Arc<Ledger>,
        environment: &[(&str, &str)],
    ) -> (Self, Process) {
        let mut installation = Installation::new(daemon_socket, queue, Arc::clone(ledger));
        for (key, value) in environment {
            installation.set(key, value);
        }
        let process = installation.start();
        process.wait_ready();
        let mut setup = Self {
            installation,
            queue: queue.into(),
            ledger: Arc::clone(ledger),
            socket: socket.into(),
            admin: "".into(),
            request_numbers: AtomicU64::new(0),
            own_users: AtomicU64::new(1),
        };
        let mut connection = setup.connect();
        setup.ask(&mut connection, "create_user", json!(["admin", "admin"]));
        let session = setup.ask(&mut connection, "create_session", json!(["admin", "admin"]));
        setup.admin = session["output"]["session_token"]
            .as_str()
            .expect("a session token for the administrator")
            .into();
        (setup, process)
    }

    pub fn connect(&self) -> Connection {
        connect(&self.socket).unwrap()
    }

    pub fn actors(&self, count: usize, random: &Random) -> Vec<Actor> {
        (0..count)
            .map(|n| {
                Actor::new(
                    &format!("{}a{n}", self.queue),
                    self.socket.clone(),
                    &self.queue,
                    Arc::clone(&self.admin),
                    Arc::clone(&self.ledger),
                    random,
                )
            })
            .collect()
    }

    /// Sends a request of the setup itself and returns its response.
    pub fn ask(&self, connection: &mut Connection, action: &str, args: Value) -> Value {
        let number = self.request_numbers.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-setup{number}", self.queue);
        self.ledger.count_requests(1);
        let message = message::encode(&id, action, args, &mut Random::new(0));
        exchange(connection, &self.queue, &id, &message).unwrap()
    }

    /// Sends a login and waits for its reply, as a barrier behind all earlier requests.
    pub fn barrier(&self, connection: &mut Connection) {
        let response = self.ask(connection, "authenticate_user", json!(["admin", "wrong"]));
        if response != json!({"output": false, "errors": []}) {
            self.ledger
                .disagree(format!("the barrier request got {response}"));
        }
    }

    /// Waits until no request is queued or in flight.
    ///
    /// Once the barrier request has its reply, the daemon has fetched all earlier requests. A
    /// fetched request stays in a processing list until it is acknowledged.
    pub fn wait_until_idle(&self, connection: &mut Connection) {
        self.barrier(connection);
        let start = Instant::now();
        loop {
            let remaining = self.remaining(connection);
            if remaining.is_empty() {
                return;
            }
            if start.elapsed() > TEST_TIMEOUT {
                self.ledger.disagree(format!("never idle: {remaining:?}"));
                return;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Returns the Redis keys and the journal of requests that are still queued or in flight.
    fn remaining(&self, connection: &mut Connection) -> Vec<String> {
        let own: Vec<String> = connection.keys(format!("{}*", self.queue)).unwrap();
        let permanent = [
            format!("{}:dead", self.queue),
            format!("{}:owner", self.queue),
        ];
        let prefix = format!("{}:", self.queue);
        let mut remaining: Vec<_> = own
            .into_iter()
            .filter(|key| *key == self.queue || key.starts_with(&prefix))
            .filter(|key| !permanent.contains(key))
            // The fencing token of the current run.
            .filter(|key| !key.starts_with(&format!("{}:run:", self.queue)))
            .collect();
        let running = std::fs::read(self.installation.workdir().join("running")).unwrap();
        if running.iter().any(|byte| *byte != 0) {
            remaining.push("entries of the crash journal".into());
        }
        remaining
    }

    /// Returns all dead letters.
    pub fn dead_letters(&self, connection: &mut Connection) -> Vec<String> {
        connection
            .lrange(format!("{}:dead", self.queue), 0, -1)
            .unwrap()
    }

    /// Ends a run: compares the daemon with the models, stops it, and checks that nothing is left
    /// in Redis or the store.
    pub fn finish(self, process: Process, mut actors: Vec<Actor>) {
        let mut connection = self.connect();
        let letters = self.dead_letters(&mut connection);
        if !letters.is_empty() {
            self.ledger.disagree(format!(
                "{} unexpected dead letters: {}",
                letters.len(),
                letters[0]
            ));
        }
        self.compare(&mut connection, &mut actors);
        if !process.stop().success() {
            self.ledger.disagree("the daemon did not stop cleanly");
        }
        let mut remaining = self.remaining(&mut connection);
        if connection.exists(format!("{}:owner", self.queue)).unwrap() {
            remaining.push("the ownership of the queue".into());
        }
        if !remaining.is_empty() {
            self.ledger
                .disagree(format!("left by a clean stop: {remaining:?}"));
        }
        self.check_store();
    }

    /// Compares the daemon's state with the models, and checks that no request got a second reply.
    pub fn compare(&self, connection: &mut Connection, actors: &mut [Actor]) {
        self.wait_until_idle(connection);
        for actor in &mut *actors {
            actor.inspect(connection).unwrap();
        }
        let users = self.ask(connection, "get_users", json!([]));
        let mut actual: Vec<(u64, String)> = users["output"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|user| {
                let name = user["username"].as_str().unwrap_or_default();
                (user["user_id"].as_u64().unwrap_or(0), name.to_owned())
            })
            .collect();
        let mut expected: Vec<_> = std::iter::once((1, "admin".to_owned()))
            .chain(actors.iter().flat_map(Actor::expected_users))
            .collect();
        actual.sort();
        expected.sort();
        if actual != expected {
            self.ledger
                .disagree(format!("the users are {actual:?}, must be {expected:?}"));
        }
        self.compare_ids(connection, actors);
        self.wait_until_idle(connection);
        let second: Vec<String> = connection
            .keys(format!("{REPLIES}{}*", self.queue))
            .unwrap();
        for list in second {
            self.ledger.disagree(format!("a second reply: {list}"));
        }
    }

    /// Ids have no gaps, so the next id shows how many users were ever created.
    fn compare_ids(&self, connection: &mut Connection, actors: &[Actor]) {
        let args = json!({"username": "last", "password": "x", "session_token": &*self.admin});
        let last = self.ask(connection, "create_user", args.clone());
        let by_actors: u64 = actors.iter().map(|actor| actor.created_users).sum();
        let expected = by_actors + self.own_users.fetch_add(1, Ordering::Relaxed) + 1;
        if last["output"]["user_id"] != expected {
            self.ledger
                .disagree(format!("the next user id must be {expected}: {last}"));
        }
        let args = json!({"username": "last", "session_token": &*self.admin});
        self.ask(connection, "delete_user", args);
    }

    /// Checks that no outcome outlives the acknowledgement of its request.
    fn check_store(&self) {
        let store = SledStore::open(&self.installation.workdir()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let outcomes = runtime.block_on(store.outcomes()).unwrap();
        if !outcomes.is_empty() {
            self.ledger
                .disagree(format!("{} outcomes left in the store", outcomes.len()));
        }
    }
}
