//! An actor: a client with users of its own, who knows what every reply must
//! be.
//!
//! Replies are moved, not popped, to a list of the actor's: a pop whose answer
//! a dying Redis swallows would look like a reply that never came.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::{Commands as _, Connection, RedisResult};
use serde_json::{Value, json};

use crate::ledger::Ledger;
use crate::message;
use crate::model::{Deed, Person, is_busy};
use crate::random::Random;
use crate::server::connect;

/// Beginning of the reply lists.
pub const REPLIES: &str = "platypush/responses/";
/// Where replies are kept once they are seen.
const SEEN: &str = "torture/seen/";
/// Longer than any reply takes.
const PATIENCE_SECONDS: u64 = 300;
/// Persons of an actor; as many requests are under way at most.
const PERSONS: usize = 24;

pub struct Actor {
    pub name: String,
    pub random: Random,
    pub persons: Vec<Person>,
    /// Users that came to be.
    pub creations: u64,
    socket: PathBuf,
    queue: String,
    admin: Arc<str>,
    ledger: Arc<Ledger>,
    pending: Vec<Pending>,
    next_id: u64,
}

/// A request that is under way.
#[derive(Clone)]
struct Pending {
    id: String,
    person: usize,
    deed: Deed,
    bytes: Vec<u8>,
    /// Whether Redis has said that it has it.
    accepted: bool,
}

/// What an answer that never came may mean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing that Redis accepted may be lost.
    Never,
    /// Redis may have forgotten the request or its reply; at most one effect.
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
        let persons = (0..PERSONS)
            .map(|n| Person::new(format!("{name}-{n}"), &mut random))
            .collect();
        Self {
            name: name.into(),
            random,
            persons,
            creations: 0,
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

    /// Asks and judges until told to stop, or until the connection breaks:
    /// then what was under way stays pending.
    pub fn work(&mut self, stop: &AtomicBool) {
        let Ok(mut connection) = self.connect() else {
            return;
        };
        while !stop.load(Ordering::SeqCst) {
            let size = self.random.between(1, PERSONS / 2);
            self.prepare(size);
            if self.push(&mut connection, &[]).is_err() || self.collect(&mut connection).is_err() {
                return;
            }
        }
    }

    /// Plans so many requests, about as many persons.
    pub fn prepare(&mut self, size: usize) {
        let first = self.random.below(PERSONS);
        for n in 0..size.min(PERSONS) {
            let person = (first + n) % PERSONS;
            let deed = self.persons[person].plan(&mut self.random);
            self.add(person, deed);
        }
    }

    fn add(&mut self, person: usize, deed: Deed) {
        let (action, args) = self.persons[person].request(&deed, &self.admin);
        self.next_id += 1;
        let id = format!("{}-r{}", self.name, self.next_id);
        let bytes = message::encode(&id, action, args, &mut self.random);
        self.pending.push(Pending {
            id,
            person,
            deed,
            bytes,
            accepted: false,
        });
    }

    /// Pushes what is prepared, all at once, with the messages `among` in the
    /// middle.
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
        self.ledger.asked(self.pending.len());
        pipe.exec(connection)?;
        for request in &mut self.pending {
            request.accepted = true;
        }
        Ok(())
    }

    /// Waits for the replies to all that is pending, and judges them.
    pub fn collect(&mut self, connection: &mut Connection) -> RedisResult<()> {
        let mut pipe = redis::pipe();
        for request in &self.pending {
            pipe.cmd("BLMOVE")
                .arg(format!("{REPLIES}{}", request.id))
                .arg(format!("{SEEN}{}", request.id))
                .arg(&["LEFT", "RIGHT"])
                .arg(PATIENCE_SECONDS);
        }
        let replies: Vec<Option<Vec<u8>>> = pipe.query(connection)?;
        for (request, reply) in std::mem::take(&mut self.pending).into_iter().zip(replies) {
            match reply {
                Some(reply) => self.judge(&request, &reply),
                None => {
                    self.ledger
                        .disagree(format!("no reply: {}", request.tell()));
                    self.find_out(connection, &request)?;
                }
            }
        }
        Ok(())
    }

    /// Waits for the first reply that is pending, without taking it.
    pub fn wait_for_first(&self, connection: &mut Connection) -> RedisResult<()> {
        let Some(first) = self.pending.first() else {
            return Ok(());
        };
        let list = format!("{REPLIES}{}", first.id);
        redis::cmd("BLMOVE")
            .arg(&[&list, &list, "LEFT", "LEFT"])
            .arg(PATIENCE_SECONDS)
            .exec(connection)
    }

    fn judge(&mut self, request: &Pending, reply: &[u8]) {
        let person = &mut self.persons[request.person];
        let was_there = person.account.is_some();
        self.ledger.answered();
        let verdict = match serde_json::from_slice::<Value>(reply) {
            Err(error) => Err(error.to_string()),
            Ok(reply) if reply["id"] != *request.id || reply["target"] != *request.id => {
                Err(format!("it is another's: {}", reply["id"]))
            }
            Ok(reply) => person
                .judge(&request.deed, &reply["response"])
                .map_err(|wrong| format!("{} {wrong}", reply["response"])),
        };
        if person.account.is_some() && !was_there {
            self.creations += 1;
        }
        if let Err(wrong) = verdict {
            self.ledger.disagree(format!("{}: {wrong}", request.tell()));
        }
    }

    /// After a break, when nothing is under way any more: finds the replies
    /// to what was pending, and the effects of what got none.
    pub fn settle_pending(&mut self, connection: &mut Connection, loss: Loss) -> RedisResult<()> {
        for request in std::mem::take(&mut self.pending) {
            let mut replies: Vec<Vec<u8>> = Vec::new();
            for prefix in [SEEN, REPLIES] {
                let list = format!("{prefix}{}", request.id);
                replies.extend(connection.lrange::<_, Vec<Vec<u8>>>(&list, 0, -1)?);
                let () = connection.del(&list)?;
            }
            if replies.len() > 1 {
                self.ledger
                    .disagree(format!("{} replies: {}", replies.len(), request.tell()));
            }
            if let Some(reply) = replies.first() {
                self.judge(&request, reply);
                continue;
            }
            if loss == Loss::Never && request.accepted {
                self.ledger
                    .disagree(format!("accepted and lost: {}", request.tell()));
            }
            let effect = self.find_out(connection, &request)?;
            if effect && loss == Loss::Never {
                self.ledger
                    .disagree(format!("an effect without a reply: {}", request.tell()));
            }
        }
        Ok(())
    }

    /// Finds out whether a request without a reply had an effect, and notes
    /// it in the model.
    fn find_out(&mut self, connection: &mut Connection, request: &Pending) -> RedisResult<bool> {
        let person = &self.persons[request.person];
        let login = |password: &String| Deed::Login {
            password: password.clone(),
        };
        // What to ask, and whether "yes" means that there was an effect.
        let (probe, yes_is_effect) = match (&request.deed, &person.account) {
            (Deed::Create { password }, _) => (login(password), true),
            (Deed::Change { to }, _) => (login(to), true),
            (Deed::Delete, Some(account)) => (login(&account.password), false),
            (Deed::Close { token }, Some(account)) if account.sessions.contains(token) => {
                let token = token.clone();
                (Deed::Look { token }, false)
            }
            // Reads, refusals, and a session whose token nobody knows.
            _ => return Ok(false),
        };
        let (action, args) = person.request(&probe, &self.admin);
        let output = self.exchange(connection, action, args)?["output"].take();
        let yes = output == true || output["user_id"].is_u64();
        if yes != yes_is_effect {
            return Ok(false);
        }
        let mut told = Value::Null;
        if let Deed::Create { password } = &request.deed {
            // A session tells the user's id.
            let args = json!([self.persons[request.person].name, password]);
            told = self.exchange(connection, "create_session", args)?["output"].take();
            self.creations += 1;
        }
        self.persons[request.person].note(&request.deed, &told);
        Ok(true)
    }

    /// One request, unjudged.
    fn exchange(
        &mut self,
        connection: &mut Connection,
        action: &str,
        args: Value,
    ) -> RedisResult<Value> {
        self.next_id += 1;
        let id = format!("{}-r{}", self.name, self.next_id);
        let bytes = message::encode(&id, action, args, &mut self.random);
        self.ledger.asked(1);
        exchange(connection, &self.queue, &id, &bytes)
    }

    /// Asks for everything that can be seen, and holds it against the model.
    pub fn inspect(&mut self, connection: &mut Connection) -> RedisResult<()> {
        let everything: Vec<_> = self
            .persons
            .iter()
            .enumerate()
            .flat_map(|(n, person)| person.inspections().into_iter().map(move |deed| (n, deed)))
            .collect();
        for (person, deed) in everything {
            self.add(person, deed);
        }
        self.push(connection, &[])?;
        self.collect(connection)
    }

    pub fn disagree(&self, what: impl Into<String>) {
        self.ledger.disagree(what);
    }

    /// The users that must be there.
    pub fn users(&self) -> impl Iterator<Item = (u64, String)> {
        self.persons.iter().filter_map(|person| {
            let account = person.account.as_ref()?;
            Some((account.user_id, person.name.clone()))
        })
    }
}

impl Pending {
    fn tell(&self) -> String {
        format!("{} {:?}", self.id, self.deed)
    }
}

/// A request and the response to it, asked again while it is refused as too
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
        let answer: Option<(String, Vec<u8>)> = connection.blpop(list, PATIENCE_SECONDS as f64)?;
        let reply = answer.and_then(|(_, reply)| serde_json::from_slice::<Value>(&reply).ok());
        let response = reply.map_or(Value::Null, |reply| reply["response"].clone());
        if !is_busy(&response) {
            return Ok(response);
        }
    }
}
