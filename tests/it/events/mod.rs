//! Events for Platypush nodes: what each of them says (`kinds.rs`), and that
//! they are told once, late rather than never and never at the cost of a reply
//! (the others).

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

/// A node that listens to its bus.
pub const CHANNEL: &str = "bus/attic";
/// A node that reads its list.
pub const LIST: &str = "home/cellar";
/// The setting for both.
pub const BOTH: (&str, &str) = ("EVENTS__PUBLISH", "bus/attic,list:home/cellar");
/// The setting for the list alone.
pub const ONLY_LIST: (&str, &str) = ("EVENTS__PUBLISH", "list:home/cellar");
/// What the log says of events that reach nobody.
pub const LOST: &str = "events were not published";

/// What is published to a channel, from now on.
pub struct Listener(Receiver<String>);

impl Listener {
    pub fn to(redis: &RedisServer) -> Self {
        let mut connection = redis.connection();
        let (tell, heard) = channel();
        let (ready, is_ready) = channel();
        std::thread::spawn(move || {
            let mut channel = connection.as_pubsub();
            channel.subscribe(CHANNEL).unwrap();
            ready.send(()).unwrap();
            while let Ok(message) = channel.get_message() {
                if tell.send(message.get_payload().unwrap()).is_err() {
                    return;
                }
            }
        });
        is_ready.recv().unwrap();
        Self(heard)
    }

    #[track_caller]
    pub fn next(&self) -> String {
        self.0.recv_timeout(PATIENCE).expect("an event")
    }
}

/// The oldest message of the list.
#[track_caller]
pub fn pop(redis: &mut redis::Connection) -> String {
    let popped: Option<(String, String)> = redis.blpop(LIST, PATIENCE.as_secs_f64()).unwrap();
    popped.expect("an event in the list").1
}

/// The arguments of an event, those that are the same in all of them looked
/// at and taken away; and when it happened.
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
        assert!(!TAKEN.contains(&&**name), "{name} is Platypush's own");
    }
    let happened_at = args.remove("happened_at").unwrap();
    (args.into(), happened_at.as_str().unwrap().to_owned())
}

/// What the arguments of an event must not be called: parameters and members
/// of Platypush's `CustomEvent` (1.3.39), and `event`, which is what a hook
/// calls the whole of it.
const TAKEN: &[&str] = &[
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

/// A daemon that tells a channel and a list, and who hears both. Each thing
/// that happens has to be heard before the next one.
pub struct Scene {
    pub daemon: Daemon,
    pub client: Client,
    _redis: RedisServer,
    listener: Listener,
    keeper: String,
    users: usize,
    tokens: u64,
}

/// A user of the scene; the password is `secret`.
pub struct User {
    pub id: u64,
    pub name: String,
    pub session: String,
    pub session_id: String,
}

impl Scene {
    /// With a first user, `keeper`, who lets the others in.
    pub fn new(settings: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start();
        let listener = Listener::to(&redis);
        let settings = [&[BOTH, ("THROTTLE__FAILURES", "3")], settings].concat();
        let mut scene = Self {
            daemon: Daemon::start(&redis, &settings),
            client: redis.client(),
            _redis: redis,
            listener,
            keeper: String::new(),
            users: 0,
            tokens: 0,
        };
        let keeper = json!(["keeper", "secret"]);
        scene.call("create_user", keeper.clone()).ok();
        scene.hear_kind("user_created");
        let session = scene.call("create_session", keeper);
        scene.keeper = session.ok()["session_token"].as_str().unwrap().into();
        scene.hear_kind("session_created");
        scene
    }

    /// The reply to a request that comes from `attic`.
    pub fn call(&mut self, action: &str, args: Value) -> Reply {
        let (id, message) = Client::request(action, args);
        let mut message: Value = serde_json::from_str(&message).unwrap();
        message["origin"] = json!("attic");
        self.client.push(message.to_string());
        self.client.reply(&id)
    }

    /// The next message, which is the same on the channel and in the list.
    #[track_caller]
    pub fn hear(&mut self) -> String {
        let message = self.listener.next();
        assert_eq!(pop(&mut self.client.redis), message);
        message
    }

    #[track_caller]
    pub fn hear_kind(&mut self, kind: &str) -> Value {
        let (args, _) = arguments(&self.hear());
        assert_eq!(args["kind"], kind, "{args}");
        args
    }

    /// The token of the keeper's session.
    pub fn keeper(&self) -> String {
        self.keeper.clone()
    }

    /// Somebody new, logged in.
    pub fn user(&mut self) -> User {
        self.users += 1;
        let name = format!("user{}", self.users);
        let new = json!({
            "username": name, "password": "secret", "session_token": self.keeper,
        });
        let id = self.call("create_user", new).ok()["user_id"].clone();
        self.hear_kind("user_created");
        let session = self.call("create_session", json!([name, "secret"]));
        let made = self.hear_kind("session_created");
        User {
            id: id.as_u64().unwrap(),
            session: session.ok()["session_token"].as_str().unwrap().into(),
            session_id: made["session_id"].as_str().unwrap().into(),
            name,
        }
    }

    /// The number of the API token that is about to be made.
    pub fn next_token_id(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    /// Somebody new with a second factor, and a backup code of it.
    pub fn user_with_factor(&mut self) -> (User, String) {
        let user = self.user();
        let enabled = self.call("enable_otp", enabling(&user));
        self.hear_kind("otp_enabled");
        let code = enabled.ok()["backup_codes"][0].as_str().unwrap().to_owned();
        (user, code)
    }
}

/// Arguments that switch the second factor of a user on.
pub fn enabling(user: &User) -> Value {
    let codes = Codes::of(&user.name);
    json!({
        "username": user.name, "password": "secret",
        "otp_secret": codes.0.to_base32().as_str(), "code": codes.now(),
    })
}
