//! Generates malformed messages.

use serde_json::{Value, json};

use crate::random::Random;

/// A password in the messages. It must not appear in the log or in dead letters.
pub const SECRET: &str = "hunter2";

const DEPTH: usize = 10_000;
/// One of this many messages is longer than `max_message_size`.
const LONG_INTERVAL: usize = 500;

pub struct Fuzzer {
    random: Random,
    /// Length of the longest message.
    max_length: usize,
    count: usize,
    pub longest: usize,
    /// Ids, and whether the message must get a reply.
    pub ids: Vec<(String, bool)>,
}

impl Fuzzer {
    pub const fn new(random: Random, full: bool) -> Self {
        Self {
            random,
            max_length: if full { 64 << 20 } else { 8 << 20 },
            count: 0,
            longest: 0,
            ids: Vec::new(),
        }
    }

    pub fn message(&mut self) -> Vec<u8> {
        self.count += 1;
        // A random id, so that a mutation of one id is never another valid id.
        let id = format!("fuzzed{:016x}", self.random.next());
        let message = if self.count.is_multiple_of(LONG_INTERVAL) {
            let length = if self.count == LONG_INTERVAL {
                self.max_length
            } else {
                self.random.between(1 << 20, 4 << 20)
            };
            vec![*self.random.pick(b"[x{\"\xff"); length]
        } else {
            match self.random.below(6) {
                0 => self.bad_text(&id),
                1 => self.deep(&id),
                2 => self.duplicate_keys(&id),
                3 => self.wrong_types(&id),
                4 => self.noise(),
                _ => self.mutated(&id),
            }
        };
        self.longest = self.longest.max(message.len());
        message
    }

    /// Returns a request without an effect that contains [`SECRET`].
    fn request(id: &str) -> Value {
        json!({"type": "request", "id": id, "origin": "fuzz", "action": "user.authenticate_user",
            "args": {"username": "nobody", "password": SECRET}})
    }

    fn bad_text(&mut self, id: &str) -> Vec<u8> {
        let mut message = Self::request(id).to_string().into_bytes();
        let at = self.random.below(message.len());
        let bad: &[u8] = match self.random.below(5) {
            0 => b"\xff",
            1 => b"\xed\xa0\x80",
            2 => b"\xc0\xaf",
            3 => b"\\ud800",
            _ => b"\0",
        };
        message.splice(at..at, bad.iter().copied());
        message
    }

    fn deep(&mut self, id: &str) -> Vec<u8> {
        let (open, close) = *self
            .random
            .pick(&[("[", "]"), ("{'a': ", "}"), ("(", ",)")]);
        let closed = if self.random.chance(70) {
            DEPTH
        } else {
            DEPTH / 2
        };
        let deep = format!("{}'{SECRET}'{}", open.repeat(DEPTH), close.repeat(closed));
        let whole = self.random.chance(50);
        if whole {
            deep.into_bytes()
        } else {
            format!(
                "{{'type': 'request', 'id': '{id}', 'action': 'user.get_users', 'args': {deep}}}"
            )
            .into_bytes()
        }
    }

    /// Repeats keys: the last value of each wins, as in Python.
    fn duplicate_keys(&mut self, id: &str) -> Vec<u8> {
        self.ids.push((id.to_owned(), true));
        format!(
            r#"{{"id": "{id}-first", "type": "nothing", "action": "user.crash", "type": "request", "args": {{"password": "{SECRET}"}}, "args": {{"username": "nobody", "username": "{id}", "password": "{SECRET}"}}, "action": "user.authenticate_user", "id": "{id}"}}"#
        )
        .into_bytes()
    }

    fn wrong_types(&mut self, id: &str) -> Vec<u8> {
        let wrong = self
            .random
            .pick(&[
                json!(null),
                json!(true),
                json!(1.5),
                json!(-7),
                json!([]),
                json!({}),
                json!([SECRET]),
                json!({"a": {"b": SECRET}}),
                json!(""),
            ])
            .clone();
        let mut request = Self::request(id);
        match self.random.below(8) {
            0 => request["id"] = wrong,
            1 => request["type"] = wrong,
            key => {
                self.ids.push((id.to_owned(), true));
                match key {
                    2 => request["action"] = wrong,
                    3 => request["args"] = wrong,
                    4 => request["args"]["username"] = wrong,
                    5 => request["args"]["password"] = wrong,
                    6 => request["origin"] = wrong,
                    _ => request["_timestamp"] = wrong,
                }
            }
        }
        request.to_string().into_bytes()
    }

    fn noise(&mut self) -> Vec<u8> {
        let length = self.random.below(300);
        (0..length)
            .map(|_| self.random.next().to_le_bytes()[0])
            .collect()
    }

    /// Changes a few bytes of a valid request.
    fn mutated(&mut self, id: &str) -> Vec<u8> {
        let mut message = Self::request(id).to_string().into_bytes();
        for _ in 0..self.random.between(1, 4) {
            if message.is_empty() {
                break;
            }
            let at = self.random.below(message.len());
            let byte = self.random.next().to_le_bytes()[0];
            match self.random.below(5) {
                0 => message[at] = byte,
                1 => message[at] ^= 1 << self.random.below(8),
                2 => message.insert(at, *self.random.pick(b"[]{}(),:'\"\\ 0ueN")),
                3 => drop(message.drain(at..(at + 4).min(message.len()))),
                _ => message.truncate(at),
            }
        }
        self.ids.push((id.to_owned(), false));
        message
    }
}
