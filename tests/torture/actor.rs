//! Actor: a client that owns its users, sends requests about them and checks every reply.
//!
//! The actor moves a reply to its own list with `BLMOVE` instead of popping it. If Redis is killed
//! during a pop, the reply is lost with the answer and looks like a reply that was never sent.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::{Commands as _, Connection, RedisResult};
use serde_json::{Value, json};

use crate::ledger::Ledger;
use crate::message;
use crate::model::{Operation, UserModel, is_busy};
use crate::random::Random;
use crate::server::connect;

/// Prefix of the reply lists.
pub const REPLIES: &str = "platypush/responses/";
/// Prefix of the lists that replies are moved to when an actor reads them.
const SEEN: &str = "torture/seen/";
/// Maximum wait for a reply: longer than any reply takes.
const REPLY_TIMEOUT_SECONDS: u64 = 300;
/// Users of one actor, and so its maximum number of requests in flight.
const USERS_PER_ACTOR: usize = 24;

pub struct Actor {
    pub name: String,
    pub random: Random,
    pub users: Vec<UserModel>,
    /// Number of users this actor has created so far.
    pub created_users: u64,
    socket: PathBuf,
    queue: String,
    admin: Arc<str>,
    ledger: Arc<Ledger>,
    pending: Vec<Pending>,
    next_id: u64,
}

/// A request in flight.
#[derive(Clone)]
struct Pending {
    id: String,
    user: usize,
    operation: Operation,
    bytes: Vec<u8>,
    /// Whether Redis has confirmed the push.
    accepted: bool,
}

/// Whether a fault may lose requests or replies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// No request that Redis accepted may be lost.
    Never,
    /// Redis may have lost the request or its reply; the request has at most one effect.
    Possible,
}

impl Actor {
    pub fn new(
        name: &str,
        socket: PathBuf,
        queue: &str,
        admin: Arc<str>,
        ledger: Arc<Ledger>,
        seed: &Random,
    ) -> Self {
        let mut random = seed.part(name);
        let users = (0..USERS_PER_ACTOR)
            .map(|n| UserModel::new(format!("{name}-{n}"), &mut random))
            .collect();
        Self {
            name: name.into(),
            random,
            users,
            created_users: 0,
            socket,
            queue: queue.into(),
            admin,
            ledger,
            pending: Vec::new(),
            next_id: 0,
        }
    }

    pub fn connect(&self) -> RedisResult<Connection> {
        connect(&self.socket)
    }

    /// Sends requests and checks their replies until `stop` is set or the connection breaks.
    /// After a break the requests in flight stay pending.
    pub fn work(&mut self, stop: &AtomicBool) {
        let Ok(mut connection) = self.connect() else {
            return;
        };
        while !stop.load(Ordering::SeqCst) {
            let size = self.random.between(1, USERS_PER_ACTOR / 2);
            self.prepare(size);
            if self.push(&mut connection, &[]).is_err() || self.collect(&mut connection).is_err() {
                return;
            }
        }
    }

    /// Plans `size` requests, each about another user.
    pub fn prepare(&mut self, size: usize) {
        let first = self.random.below(USERS_PER_ACTOR);
        for n in 0..size.min(USERS_PER_ACTOR) {
            let user = (first + n) % USERS_PER_ACTOR;
            let operation = self.users[user].plan(&mut self.random);
            self.add(user, operation);
        }
    }

    fn add(&mut self, user: usize, operation: Operation) {
        let (action, args) = self.users[user].request(&operation, &self.admin);
        self.next_id += 1;
        let id = format!("{}-r{}", self.name, self.next_id);
        let bytes = message::encode(&id, action, args, &mut self.random);
        self.pending.push(Pending {
            id,
            user,
            operation,
            bytes,
            accepted: false,
        });
    }

    /// Pushes all prepared requests in one pipeline, with the messages `among` in the middle.
    pub fn push(&mut self, connection: &mut Connection, among: &[Vec<u8>]) -> RedisResult<()> {
        let mut pipe = redis::pipe();
        if !among.is_empty() {
            pipe.atomic();
        }
        let (before, after) = self.pending.split_at(self.pending.len() / 2);
        for request in before {
            pipe.rpush(&self.queue, &request.bytes);
        }
        for message in among {
            pipe.rpush(&self.queue, message);
        }
        for request in after {
            pipe.rpush(&self.queue, &request.bytes);
        }
        self.ledger.count_requests(self.pending.len());
        pipe.exec(connection)?;
        for request in &mut self.pending {
            request.accepted = true;
        }
        Ok(())
    }

    /// Waits for the replies to all pending requests, and checks them.
    pub fn collect(&mut self, connection: &mut Connection) -> RedisResult<()> {
        let mut pipe = redis::pipe();
        for request in &self.pending {
            pipe.cmd("BLMOVE")
                .arg(format!("{REPLIES}{}", request.id))
                .arg(format!("{SEEN}{}", request.id))
                .arg(&["LEFT", "RIGHT"])
                .arg(REPLY_TIMEOUT_SECONDS);
        }
        let replies: Vec<Option<Vec<u8>>> = pipe.query(connection)?;
        for (request, reply) in std::mem::take(&mut self.pending).into_iter().zip(replies) {
            match reply {
                Some(reply) => self.check_reply(&request, &reply),
                None => {
                    self.ledger
                        .disagree(format!("no reply: {}", request.description()));
                    self.probe_effect(connection, &request)?;
                }
            }
        }
        Ok(())
    }

    /// Waits for the reply to the first pending request, and leaves it in its list.
    pub fn wait_for_first(&self, connection: &mut Connection) -> RedisResult<()> {
        let Some(first) = self.pending.first() else {
            return Ok(());
        };
        let list = format!("{REPLIES}{}", first.id);
        redis::cmd("BLMOVE")
            .arg(&[&list, &list, "LEFT", "LEFT"])
            .arg(REPLY_TIMEOUT_SECONDS)
            .exec(connection)
    }

    fn check_reply(&mut self, request: &Pending, reply: &[u8]) {
        let user = &mut self.users[request.user];
        let existed = user.account.is_some();
        self.ledger.count_reply();
        let result = match serde_json::from_slice::<Value>(reply) {
            Err(error) => Err(error.to_string()),
            Ok(reply) if reply["id"] != *request.id || reply["target"] != *request.id => Err(
                format!("the reply belongs to another request: {}", reply["id"]),
            ),
            Ok(reply) => user
                .check(&request.operation, &reply["response"])
                .map_err(|error| format!("{} {error}", reply["response"])),
        };
        if user.account.is_some() && !existed {
            self.created_users += 1;
        }
        if let Err(error) = result {
            self.ledger
                .disagree(format!("{}: {error}", request.description()));
        }
    }

    /// Resolves the requests that a broken connection left pending: reads their replies, and
    /// probes the effect of each request without a reply. The daemon must be idle.
    pub fn resolve_pending(&mut self, connection: &mut Connection, loss: Loss) -> RedisResult<()> {
        for request in std::mem::take(&mut self.pending) {
            let mut replies: Vec<Vec<u8>> = Vec::new();
            for prefix in [SEEN, REPLIES] {
                let list = format!("{prefix}{}", request.id);
                replies.extend(connection.lrange::<_, Vec<Vec<u8>>>(&list, 0, -1)?);
                let () = connection.del(&list)?;
            }
            if replies.len() > 1 {
                self.ledger.disagree(format!(
                    "{} replies: {}",
                    replies.len(),
                    request.description()
                ));
            }
            if let Some(reply) = replies.first() {
                self.check_reply(&request, reply);
                continue;
            }
            if loss == Loss::Never && request.accepted {
                self.ledger
                    .disagree(format!("accepted, but no reply: {}", request.description()));
            }
            let effect = self.probe_effect(connection, &request)?;
            if effect && loss == Loss::Never {
                self.ledger.disagree(format!(
                    "an effect, but no reply: {}",
                    request.description()
                ));
            }
        }
        Ok(())
    }

    /// Returns whether a request without a reply had an effect, and applies the effect to the
    /// model.
    fn probe_effect(
        &mut self,
        connection: &mut Connection,
        request: &Pending,
    ) -> RedisResult<bool> {
        let user = &self.users[request.user];
        let login = |password: &String| Operation::Login {
            password: password.clone(),
        };
        // The probe, and whether its success means that the request had an effect.
        let (probe, effect_if_true) = match (&request.operation, &user.account) {
            (Operation::Create { password }, _) => (login(password), true),
            (Operation::ChangePassword { to }, _) => (login(to), true),
            (Operation::Delete, Some(account)) => (login(&account.password), false),
            (Operation::DeleteSession { token }, Some(account))
                if account.sessions.contains(token) =>
            {
                let token = token.clone();
                (Operation::GetUser { token }, false)
            }
            // Reads, refusals, and a created session whose token was lost with the reply.
            _ => return Ok(false),
        };
        let (action, args) = user.request(&probe, &self.admin);
        let output = self.exchange(connection, action, args)?["output"].take();
        let succeeded = output == true || output["user_id"].is_u64();
        if succeeded != effect_if_true {
            return Ok(false);
        }
        let mut created = Value::Null;
        if let Operation::Create { password } = &request.operation {
            // A session contains the id of the user.
            let args = json!([self.users[request.user].name, password]);
            created = self.exchange(connection, "create_session", args)?["output"].take();
            self.created_users += 1;
        }
        self.users[request.user].apply(&request.operation, &created);
        Ok(true)
    }

    /// Sends one request and returns its response unchecked.
    fn exchange(
        &mut self,
        connection: &mut Connection,
        action: &str,
        args: Value,
    ) -> RedisResult<Value> {
        self.next_id += 1;
        let id = format!("{}-r{}", self.name, self.next_id);
        let bytes = message::encode(&id, action, args, &mut self.random);
        self.ledger.count_requests(1);
        exchange(connection, &self.queue, &id, &bytes)
    }

    /// Reads all state that clients can see, and compares it with the model.
    pub fn inspect(&mut self, connection: &mut Connection) -> RedisResult<()> {
        let inspections: Vec<_> = self
            .users
            .iter()
            .enumerate()
            .flat_map(|(n, user)| {
                user.inspections()
                    .into_iter()
                    .map(move |operation| (n, operation))
            })
            .collect();
        for (user, operation) in inspections {
            self.add(user, operation);
        }
        self.push(connection, &[])?;
        self.collect(connection)
    }

    pub fn disagree(&self, what: impl Into<String>) {
        self.ledger.disagree(what);
    }

    /// Returns id and name of each user that must exist.
    pub fn expected_users(&self) -> impl Iterator<Item = (u64, String)> {
        self.users.iter().filter_map(|user| {
            let account = user.account.as_ref()?;
            Some((account.user_id, user.name.clone()))
        })
    }
}

impl Pending {
    fn description(&self) -> String {
        format!("{} {:?}", self.id, self.operation)
    }
}

/// Sends a request and returns the response. Repeats the request while it is refused as too
/// busy.
pub fn exchange(
    connection: &mut Connection,
    queue: &str,
    id: &str,
    message: &[u8],
) -> RedisResult<Value> {
    loop {
        let () = connection.rpush(queue, message)?;
        let list = format!("{REPLIES}{id}");
        let answer: Option<(String, Vec<u8>)> =
            connection.blpop(list, REPLY_TIMEOUT_SECONDS as f64)?;
        let reply = answer.and_then(|(_, reply)| serde_json::from_slice::<Value>(&reply).ok());
        let response = reply.map_or(Value::Null, |reply| reply["response"].clone());
        if !is_busy(&response) {
            return Ok(response);
        }
    }
}
