//! A mix of requests with known expected replies.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{Client, QUEUE, Reply};

/// Requests that are pushed together.
pub struct Load {
    token: String,
    requests: Vec<Request>,
}

struct Request {
    id: String,
    message: String,
    kind: Kind,
}

enum Kind {
    /// Looks up a session: costs next to nothing.
    LookUp,
    /// A login with an unknown name: costs one hash with the parameters of the
    /// daemon, and no write.
    Login,
    /// Creates a user of that name: costs a hash and a write.
    Creation(String),
}

impl Load {
    /// Creates a load of `length` requests: of every five, two look-ups with this session token
    /// of `alice`, two logins, and the creation of a user with a unique name.
    pub fn new(token: &str, length: usize) -> Self {
        Self {
            token: token.to_owned(),
            requests: (0..length).map(|n| Request::new(n, token)).collect(),
        }
    }

    /// Creates another load with the same token.
    pub fn more(&self, length: usize) -> Self {
        Self::new(&self.token, length)
    }

    /// Pushes all requests with one command.
    pub fn push(&self, client: &mut Client) {
        let messages: Vec<_> = self.requests.iter().map(|r| &r.message).collect();
        client.push(messages);
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.requests.iter().map(|request| &*request.id)
    }

    /// Returns the ids of the logins. A daemon with one hashing thread answers them in this order.
    pub fn logins(&self) -> Vec<&str> {
        let logins = self.requests.iter();
        logins
            .filter(|request| matches!(request.kind, Kind::Login))
            .map(|request| &*request.id)
            .collect()
    }

    /// Appends the requests of another load.
    pub fn and(mut self, other: Self) -> Self {
        self.requests.extend(other.requests);
        self
    }

    /// Asserts, while no daemon runs, that every request is either answered or in the queue, that
    /// the queue keeps the order in which the requests were pushed, and that it holds nothing
    /// else. Returns the length of the queue.
    #[track_caller]
    pub fn assert_answered_or_queued(&self, client: &mut Client) -> usize {
        let answered: HashSet<_> = client.answered(self.ids()).into_iter().collect();
        let expected: Vec<_> = self
            .requests
            .iter()
            .filter(|request| !answered.contains(&*request.id))
            .map(|request| request.message.clone())
            .collect();
        let queued: Vec<String> = redis::cmd("LRANGE")
            .arg(QUEUE)
            .arg(0)
            .arg(-1)
            .query(&mut client.redis)
            .unwrap();
        assert_eq!(queued, expected, "the queue and the unanswered requests");
        let own: Vec<String> = redis::cmd("KEYS")
            .arg(format!("{QUEUE}:*"))
            .query(&mut client.redis)
            .unwrap();
        assert_eq!(own, Vec::<String>::new(), "left in processing");
        queued.len()
    }

    /// Waits for all replies and asserts that each is the expected one.
    #[track_caller]
    pub fn assert_answered(&self, client: &mut Client) {
        for request in &self.requests {
            let reply = client.reply(&request.id);
            request.kind.check(&reply);
        }
        let users = client.call("get_users", json!({}));
        let users: HashSet<_> = users
            .ok()
            .as_array()
            .unwrap()
            .iter()
            .map(|user| user["username"].as_str().unwrap())
            .collect();
        for request in &self.requests {
            if let Kind::Creation(name) = &request.kind {
                assert!(users.contains(&**name), "{name} does not exist");
            }
        }
    }
}

impl Request {
    fn new(number: usize, token: &str) -> Self {
        let name = format!("user-{}", Client::new_id());
        let (action, args, kind) = match number % 5 {
            0 | 3 => ("authenticate_session", json!([token]), Kind::LookUp),
            1 | 4 => (
                "authenticate_user",
                json!({"username": "nobody", "password": "secret"}),
                Kind::Login,
            ),
            _ => (
                "create_user",
                json!({"username": name, "password": "secret", "session_token": token}),
                Kind::Creation(name),
            ),
        };
        let (id, message) = Client::request(action, args);
        Self { id, message, kind }
    }
}

impl Kind {
    #[track_caller]
    fn check(&self, reply: &Reply) {
        match self {
            Self::LookUp => assert_eq!(reply.ok()["username"], "alice"),
            Self::Login => assert_eq!(reply.ok(), &Value::Bool(false)),
            Self::Creation(name) => assert_eq!(reply.ok()["username"], **name),
        }
    }
}
