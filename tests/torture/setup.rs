//! A daemon on a queue of its own, an administrator, and what must hold when
//! all is over.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use platypush_userd::store::{Store as _, sled::SledStore};
use redis::{Commands as _, Connection};
use serde_json::{Value, json};

use crate::actor::{Actor, REPLIES, exchange};
use crate::daemon::{Home, PATIENCE, Process};
use crate::ledger::Ledger;
use crate::message;
use crate::random::Random;
use crate::server::connect;

/// Between two looks at what nobody announces.
const LOOK: Duration = Duration::from_millis(2);

pub struct Setup {
    pub home: Home,
    pub queue: String,
    pub ledger: Arc<Ledger>,
    /// Redis, without anything in between.
    pub socket: PathBuf,
    admin: Arc<str>,
    fences: AtomicU64,
    /// Users that are no actor's.
    own_creations: AtomicU64,
}

impl Setup {
    /// A daemon that reaches Redis by the socket `way`, and has its first
    /// user.
    pub fn start(socket: &Path, way: &Path, queue: &str, ledger: &Arc<Ledger>) -> (Self, Process) {
        Self::start_with(socket, way, queue, ledger, &[])
    }

    /// The same with environment variables on top.
    pub fn start_with(
        socket: &Path,
        way: &Path,
        queue: &str,
        ledger: &Arc<Ledger>,
        environment: &[(&str, &str)],
    ) -> (Self, Process) {
        let mut home = Home::new(way, queue, Arc::clone(ledger));
        for (key, value) in environment {
            home.set(key, value);
        }
        let process = home.start();
        process.wait_ready();
        let mut setup = Self {
            home,
            queue: queue.into(),
            ledger: Arc::clone(ledger),
            socket: socket.into(),
            admin: "".into(),
            fences: AtomicU64::new(0),
            own_creations: AtomicU64::new(1),
        };
        let mut connection = setup.connect();
        setup.ask(&mut connection, "create_user", json!(["admin", "admin"]));
        let session = setup.ask(&mut connection, "create_session", json!(["admin", "admin"]));
        setup.admin = session["output"]["session_token"]
            .as_str()
            .expect("the administrator has a session")
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

    /// A request of our own, and its response.
    pub fn ask(&self, connection: &mut Connection, action: &str, args: Value) -> Value {
        let fence = self.fences.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-fence{fence}", self.queue);
        self.ledger.asked(1);
        let message = message::encode(&id, action, args, &mut Random::new(0));
        exchange(connection, &self.queue, &id, &message).unwrap()
    }

    /// A request that waits for its turn, and its answer.
    pub fn fence(&self, connection: &mut Connection) {
        let response = self.ask(connection, "authenticate_user", json!(["admin", "wrong"]));
        if response != json!({"output": false, "errors": []}) {
            self.ledger.disagree(format!("a fence got {response}"));
        }
    }

    /// Waits until nothing is queued, taken or run any more.
    ///
    /// When the fence has its answer, all that was pushed before it has been
    /// taken; and what was taken stands in the lists of Redis until it is
    /// settled.
    pub fn calm_down(&self, connection: &mut Connection) {
        self.fence(connection);
        let start = Instant::now();
        loop {
            let left = self.left(connection);
            if left.is_empty() {
                return;
            }
            if start.elapsed() > PATIENCE {
                self.ledger.disagree(format!("left over: {left:?}"));
                return;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What is still queued, taken or run.
    fn left(&self, connection: &mut Connection) -> Vec<String> {
        let own: Vec<String> = connection.keys(format!("{}*", self.queue)).unwrap();
        let lasting = [
            format!("{}:dead", self.queue),
            format!("{}:owner", self.queue),
        ];
        let under_way = format!("{}:", self.queue);
        let mut left: Vec<_> = own
            .into_iter()
            .filter(|key| *key == self.queue || key.starts_with(&under_way))
            .filter(|key| !lasting.contains(key))
            // The fence of the run that is on.
            .filter(|key| !key.starts_with(&format!("{}:run:", self.queue)))
            .collect();
        let running = std::fs::read(self.home.workdir().join("running")).unwrap();
        if running.iter().any(|byte| *byte != 0) {
            left.push("notes of what is running".into());
        }
        left
    }

    /// How many dead letters there are.
    pub fn dead_letters(&self, connection: &mut Connection) -> Vec<String> {
        connection
            .lrange(format!("{}:dead", self.queue), 0, -1)
            .unwrap()
    }

    /// When all is over: the world must be as the model, and nothing may be
    /// left anywhere.
    pub fn finish(self, process: Process, mut actors: Vec<Actor>) {
        let mut connection = self.connect();
        let letters = self.dead_letters(&mut connection);
        if !letters.is_empty() {
            self.ledger.disagree(format!(
                "{} innocent dead letters: {}",
                letters.len(),
                letters[0]
            ));
        }
        self.compare(&mut connection, &mut actors);
        if !process.stop().success() {
            self.ledger.disagree("the daemon did not stop cleanly");
        }
        let mut left = self.left(&mut connection);
        if connection.exists(format!("{}:owner", self.queue)).unwrap() {
            left.push("the claim on the queue".into());
        }
        if !left.is_empty() {
            self.ledger
                .disagree(format!("left by a clean stop: {left:?}"));
        }
        self.look_into_the_store();
    }

    /// The state against the models, and no second reply to anything.
    pub fn compare(&self, connection: &mut Connection, actors: &mut [Actor]) {
        self.calm_down(connection);
        for actor in &mut *actors {
            actor.inspect(connection).unwrap();
        }
        let users = self.ask(connection, "get_users", json!([]));
        let mut there: Vec<(u64, String)> = users["output"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|user| {
                let name = user["username"].as_str().unwrap_or_default();
                (user["user_id"].as_u64().unwrap_or(0), name.to_owned())
            })
            .collect();
        let mut due: Vec<_> = std::iter::once((1, "admin".to_owned()))
            .chain(actors.iter().flat_map(Actor::users))
            .collect();
        there.sort();
        due.sort();
        if there != due {
            self.ledger
                .disagree(format!("the users are {there:?}, must be {due:?}"));
        }
        self.compare_ids(connection, actors);
        self.calm_down(connection);
        let second: Vec<String> = connection
            .keys(format!("{REPLIES}{}*", self.queue))
            .unwrap();
        for list in second {
            self.ledger.disagree(format!("a second reply: {list}"));
        }
    }

    /// Ids have no gaps: the next one tells how many users ever came to be.
    fn compare_ids(&self, connection: &mut Connection, actors: &[Actor]) {
        let args = json!({"username": "last", "password": "x", "session_token": &*self.admin});
        let last = self.ask(connection, "create_user", args.clone());
        let theirs: u64 = actors.iter().map(|actor| actor.creations).sum();
        let users = theirs + self.own_creations.fetch_add(1, Ordering::Relaxed) + 1;
        if last["output"]["user_id"] != users {
            self.ledger
                .disagree(format!("user {users} that ever was: {last}"));
        }
        let args = json!({"username": "last", "session_token": &*self.admin});
        self.ask(connection, "delete_user", args);
    }

    /// No outcome outlives the acknowledgement of its request.
    fn look_into_the_store(&self) {
        let store = SledStore::open(&self.home.workdir()).unwrap();
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
