//! Events for Platypush nodes: the arguments of each kind (`kinds.rs`), and their delivery: at
//! most once, after an outage of Redis, and without delaying a reply.

mod kinds;
mod once;
mod operator;
mod queue;
mod refused;
mod silence;
mod stalled;

use std::sync::mpsc::{Receiver, channel};

use redis::Commands as _;
use serde_json::{Value, json};

use crate::support::{Client, Codes, Daemon, PATIENCE, RedisServer, Reply};

/// Channel of a node that subscribes.
pub const CHANNEL: &str = "bus/attic";
/// List of a node that reads a list.
pub const LIST: &str = "home/cellar";
/// Setting that publishes to both.
pub const BOTH: (&str, &str) = ("EVENTS__PUBLISH", "bus/attic,list:home/cellar");
/// Setting that publishes to the list only.
pub const ONLY_LIST: (&str, &str) = ("EVENTS__PUBLISH", "list:home/cellar");
/// Log message about lost events.
pub const LOST: &str = "events were not published";

/// A subscription to the channel.
pub struct Subscription(Receiver<String>);

impl Subscription {
    pub fn to(redis: &RedisServer) -> Self {
        let mut connection = redis.connection();
        let (sender, messages) = channel();
        let (ready, is_ready) = channel();
        std::thread::spawn(move || {
            let mut channel = connection.as_pubsub();
            channel.subscribe(CHANNEL).unwrap();
            ready.send(()).unwrap();
            while let Ok(message) = channel.get_message() {
                if sender.send(message.get_payload().unwrap()).is_err() {
                    return;
                }
            }
        });
        is_ready.recv().unwrap();
        Self(messages)
    }

    #[track_caller]
    pub fn next(&self) -> String {
        self.0.recv_timeout(PATIENCE).expect("an event")
    }
}

/// Removes the oldest message of the list and returns it.
#[track_caller]
pub fn pop(redis: &mut redis::Connection) -> String {
    let popped: Option<(String, String)> = redis.blpop(LIST, PATIENCE.as_secs_f64()).unwrap();
    popped.expect("an event in the list").1
}

/// Checks and removes the arguments that all events share. Returns the other arguments and
/// `happened_at`.
#[track_caller]
pub fn arguments(message: &str) -> (Value, String) {
    let message: Value = serde_json::from_str(message).unwrap();
    let Value::Object(mut message) = message else {
        panic!("{message}");
    };
    assert_eq!(message.remove("type").unwrap(), "event");
    let Value::Object(mut args) = message.remove("args").unwrap() else {
        panic!("the arguments of an event");
    };
    assert!(message.is_empty(), "{message:?}");
    assert_eq!(
        args.remove("type").unwrap(),
        "platypush.message.event.custom.CustomEvent"
    );
    assert_eq!(args.remove("subtype").unwrap(), "user_event");
    for name in args.keys() {
        assert!(
            !RESERVED.contains(&&**name),
            "{name} is reserved by Platypush"
        );
    }
    let happened_at = args.remove("happened_at").unwrap();
    (args.into(), happened_at.as_str().unwrap().to_owned())
}

/// Names that no argument of an event may have: parameters and members of Platypush's
/// `CustomEvent` (1.3.39), and `event`, the parameter by which a hook receives the event.
const RESERVED: &[&str] = &[
    "args",
    "as_dict",
    "build",
    "disable_web_clients_notification",
    "Encoder",
    "event",
    "id",
    "log",
    "logging_level",
    "matches_condition",
    "origin",
    "parse",
    "self",
    "subtype",
    "target",
    "timestamp",
    "to_dict",
    "type",
];

/// A daemon that publishes to the channel and the list, and a reader of both. A test reads each
/// event before it causes the next one.
pub struct Fixture {
    pub daemon: Daemon,
    pub client: Client,
    _redis: RedisServer,
    subscription: Subscription,
    first_session: String,
    users: usize,
    tokens: u64,
}

/// A user of the fixture, with the password `secret`.
pub struct User {
    pub id: u64,
    pub name: String,
    pub session: String,
    pub session_id: String,
}

impl Fixture {
    /// Starts the daemon and creates a first user, `admin`, whose session creates the others.
    pub fn new(settings: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start();
        let subscription = Subscription::to(&redis);
        let settings = [&[BOTH, ("THROTTLE__FAILURES", "3")], settings].concat();
        let mut fixture = Self {
            daemon: Daemon::start(&redis, &settings),
            client: redis.client(),
            _redis: redis,
            subscription,
            first_session: String::new(),
            users: 0,
            tokens: 0,
        };
        let admin = json!(["admin", "secret"]);
        fixture.call("create_user", admin.clone()).ok();
        fixture.next_event_of("user_created");
        let session = fixture.call("create_session", admin);
        fixture.first_session = session.ok()["session_token"].as_str().unwrap().into();
        fixture.next_event_of("session_created");
        fixture
    }

    /// Sends a request with the origin `attic` and returns the reply.
    pub fn call(&mut self, action: &str, args: Value) -> Reply {
        let (id, message) = Client::request(action, args);
        let mut message: Value = serde_json::from_str(&message).unwrap();
        message["origin"] = json!("attic");
        self.client.push(message.to_string());
        self.client.reply(&id)
    }

    /// Returns the next event, after checking that channel and list received the same message.
    #[track_caller]
    pub fn next_event(&mut self) -> String {
        let message = self.subscription.next();
        assert_eq!(pop(&mut self.client.redis), message);
        message
    }

    /// Returns the arguments of the next event, which must be of this kind.
    #[track_caller]
    pub fn next_event_of(&mut self, kind: &str) -> Value {
        let (args, _) = arguments(&self.next_event());
        assert_eq!(args["kind"], kind, "{args}");
        args
    }

    /// Returns the session token of the first user.
    pub fn first_session(&self) -> String {
        self.first_session.clone()
    }

    /// Creates a user with a session.
    pub fn user(&mut self) -> User {
        self.users += 1;
        let name = format!("user{}", self.users);
        let new = json!({
            "username": name, "password": "secret", "session_token": self.first_session,
        });
        let id = self.call("create_user", new).ok()["user_id"].clone();
        self.next_event_of("user_created");
        let session = self.call("create_session", json!([name, "secret"]));
        let created = self.next_event_of("session_created");
        User {
            id: id.as_u64().unwrap(),
            session: session.ok()["session_token"].as_str().unwrap().into(),
            session_id: created["session_id"].as_str().unwrap().into(),
            name,
        }
    }

    /// Returns the id of the next API token.
    pub fn next_token_id(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    /// Creates a user with a second factor. Returns one of its backup codes too.
    pub fn user_with_factor(&mut self) -> (User, String) {
        let user = self.user();
        let enabled = self.call("enable_otp", enabling(&user));
        self.next_event_of("otp_enabled");
        let code = enabled.ok()["backup_codes"][0].as_str().unwrap().to_owned();
        (user, code)
    }
}

/// Returns the arguments that enable the second factor of a user.
pub fn enabling(user: &User) -> Value {
    let codes = Codes::of(&user.name);
    json!({
        "username": user.name, "password": "secret",
        "otp_secret": codes.0.to_base32().as_str(), "code": codes.now(),
    })
}
