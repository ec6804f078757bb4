//! A client of the queue: acts as a Platypush node or an operator with redis-cli does.

use std::sync::atomic::{AtomicU64, Ordering};

use redis::Commands as _;
use serde_json::{Value, json};

use super::PATIENCE;

/// Default name of the queue.
pub const QUEUE: &str = "platypush/user";
/// Default prefix of the reply lists.
pub const REPLIES: &str = "platypush/responses/";

pub struct Client {
    pub redis: redis::Connection,
}

/// A complete reply message.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply(pub Value);

impl Reply {
    pub fn output(&self) -> &Value {
        &self.0["response"]["output"]
    }

    pub fn errors(&self) -> Vec<&str> {
        self.0["response"]["errors"]
            .as_array()
            .expect("errors is a list")
            .iter()
            .map(|error| error.as_str().expect("an error is text"))
            .collect()
    }

    /// Asserts success and returns the output.
    #[track_caller]
    pub fn ok(&self) -> &Value {
        assert_eq!(self.errors(), Vec::<&str>::new());
        self.output()
    }

    /// Asserts a failure with exactly this error text.
    #[track_caller]
    pub fn fails(&self, text: &str) {
        assert_eq!(self.errors(), [text]);
        assert_eq!(self.output(), &json!({"success": false}));
    }
}

impl Client {
    pub const fn new(redis: redis::Connection) -> Self {
        Self { redis }
    }

    /// Returns a request id that is unique in this process.
    pub fn new_id() -> String {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        format!("r{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends a request for an action and waits for its reply.
    pub fn call(&mut self, action: &str, args: Value) -> Reply {
        let id = self.send(action, args);
        self.reply(&id)
    }

    /// Pushes a request and returns its id.
    pub fn send(&mut self, action: &str, args: Value) -> String {
        let (id, message) = Self::request(action, args);
        self.push(message);
        id
    }

    /// Returns a new id and the message of a request with that id.
    pub fn request(action: &str, args: Value) -> (String, String) {
        let id = Self::new_id();
        let action = format!("user.{action}");
        let message = json!({"type": "request", "action": action, "args": args, "id": id});
        (id, message.to_string())
    }

    /// Pushes several requests with one command, so that they reach the queue
    /// together, and returns their ids.
    pub fn send_all<'a>(
        &mut self,
        requests: impl IntoIterator<Item = (&'a str, Value)>,
    ) -> Vec<String> {
        let (ids, messages): (_, Vec<_>) = requests
            .into_iter()
            .map(|(action, args)| Self::request(action, args))
            .unzip();
        self.push(messages);
        ids
    }

    /// Pushes raw bytes.
    pub fn push(&mut self, message: impl redis::ToRedisArgs + Send + Sync) {
        let _: () = self.redis.rpush(QUEUE, message).unwrap();
    }

    /// Waits for the reply to a request and removes it from its list.
    #[track_caller]
    pub fn reply(&mut self, id: &str) -> Reply {
        Reply(serde_json::from_str(&self.raw_reply(id)).unwrap())
    }

    /// Waits for the reply to a request and returns its text unparsed.
    #[track_caller]
    pub fn raw_reply(&mut self, id: &str) -> String {
        let popped: Option<(String, String)> = self
            .redis
            .blpop(format!("{REPLIES}{id}"), PATIENCE.as_secs_f64())
            .unwrap();
        popped.unwrap_or_else(|| panic!("no reply to {id}")).1
    }

    /// Waits for the reply to a request and leaves it in its list.
    #[track_caller]
    pub fn await_reply(&mut self, id: &str) {
        let list = format!("{REPLIES}{id}");
        let moved: Option<String> = redis::cmd("BLMOVE")
            .arg(&[&list, &list, "LEFT", "LEFT"])
            .arg(PATIENCE.as_secs_f64())
            .query(&mut self.redis)
            .unwrap();
        assert!(moved.is_some(), "no reply to {id}");
    }

    /// Returns the ids whose replies have arrived.
    pub fn answered<'a>(&mut self, ids: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let ids: Vec<_> = ids.into_iter().collect();
        let mut pipe = redis::pipe();
        for id in &ids {
            pipe.exists(format!("{REPLIES}{id}"));
        }
        let arrived: Vec<bool> = pipe.query(&mut self.redis).unwrap();
        let answered = ids.into_iter().zip(arrived).filter(|(_, arrived)| *arrived);
        answered.map(|(id, _)| id).collect()
    }

    /// Asserts that no request is in flight and no reply is unread: the queue,
    /// all processing lists and all reply lists are gone.
    #[track_caller]
    pub fn assert_nothing_left(&mut self) {
        let keys: Vec<String> = self.redis.keys("*").unwrap();
        let left: Vec<_> = keys
            .iter()
            .filter(|key| {
                *key != &format!("{QUEUE}:dead")
                    && !key.ends_with(":owner")
                    && !key.contains(":run:")
            })
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Returns all dead letters, the oldest first.
    pub fn dead_letters(&mut self) -> Vec<Value> {
        let letters: Vec<String> = self.redis.lrange(format!("{QUEUE}:dead"), 0, -1).unwrap();
        letters
            .iter()
            .map(|letter| serde_json::from_str(letter).unwrap())
            .collect()
    }
}
