//! The attacker, and whoever sets the scene.

use std::path::Path;
use std::time::Instant;

use platypush_userd::clock::{Clock as _, SystemClock};
use platypush_userd::credentials::TotpSecret;
use serde_json::{Value, json};

/// Seconds, longer than any answer takes.
const PATIENCE: u32 = 60;

pub struct Client {
    redis: redis::Connection,
    last_id: u64,
}

/// The answer to an attempt.
pub struct Answer {
    /// From the push of the request to the reply.
    pub micros: f64,
    /// The response, without what is told to everybody: how long to wait.
    pub text: String,
    /// Whether it was refused because too many wait.
    pub busy: bool,
}

/// What shows the codes of a user.
pub struct Authenticator(TotpSecret);

impl Authenticator {
    pub fn now(&self) -> String {
        self.0.current_code(SystemClock.now())
    }
}

impl Client {
    pub fn connect(socket: &Path) -> Self {
        let client = redis::Client::open(format!("unix://{}", socket.display())).unwrap();
        Self {
            redis: client.get_connection().unwrap(),
            last_id: 0,
        }
    }

    /// Makes a user with its name as its password; `admin` is the first.
    pub fn create_user(&mut self, username: &str) {
        let mut args = json!({"username": username, "password": username});
        if username != "admin" {
            args["executing_user"] = json!("admin");
            args["executing_user_password"] = json!("admin");
        }
        self.succeed("create_user", args);
    }

    /// Switches the second factor of a user on.
    pub fn enable_otp(&mut self, username: &str) -> Authenticator {
        let mut args = json!({"username": username, "password": username, "dry_run": true});
        let proposal = self.succeed("enable_otp", args.clone());
        let secret = proposal["otp_secret"].as_str().unwrap();
        let authenticator = Authenticator(TotpSecret::from_base32(secret).unwrap());
        args["dry_run"] = json!(false);
        args["otp_secret"] = json!(secret);
        args["code"] = json!(authenticator.now());
        self.succeed("enable_otp", args);
        authenticator
    }

    /// One attempt to log in.
    pub fn log_in(&mut self, username: &str, password: &str, code: &str) -> Answer {
        let args = json!({
            "username": username, "password": password, "code": code, "return_details": true,
        });
        let (micros, response) = self.call("authenticate_user", args);
        let text = response.to_string();
        let text: String = text.split("retry in").next().unwrap_or_default().into();
        let busy = text.contains("Too busy");
        Answer { micros, text, busy }
    }

    fn succeed(&mut self, action: &str, args: Value) -> Value {
        let (_, mut response) = self.call(action, args);
        assert_eq!(response["errors"], json!([]), "{action}");
        response["output"].take()
    }

    /// The response, and how long it took to come.
    fn call(&mut self, action: &str, args: Value) -> (f64, Value) {
        self.last_id += 1;
        // Of one length, so that they are the same work to read.
        let id = format!("{:016}", self.last_id);
        let action = format!("user.{action}");
        let message =
            json!({"type": "request", "action": action, "args": args, "id": id}).to_string();
        let mut push_and_wait = redis::pipe();
        push_and_wait
            .rpush("platypush/user", message)
            .ignore()
            .cmd("BLPOP")
            .arg(format!("platypush/responses/{id}"))
            .arg(PATIENCE);
        let start = Instant::now();
        let reply: redis::RedisResult<Vec<(String, String)>> = push_and_wait.query(&mut self.redis);
        let micros = start.elapsed().as_secs_f64() * 1e6;
        let (_, reply) = reply.unwrap().pop().expect("a reply");
        let mut reply: Value = serde_json::from_str(&reply).unwrap();
        (micros, reply["response"].take())
    }
}
