//! Redis client of the attacker, which also creates the users.

use std::path::Path;
use std::time::Instant;

use platypush_userd::clock::{Clock as _, SystemClock};
use platypush_userd::credentials::TotpSecret;
use serde_json::{Value, json};

/// Maximum wait for a reply, in seconds.
const REPLY_TIMEOUT: u32 = 60;

pub struct Client {
    redis: redis::Connection,
    last_id: u64,
}

/// The reply to a login.
pub struct Answer {
    /// Time from the push of the request to the reply, in microseconds.
    pub micros: f64,
    /// The response up to `retry in`: the wait behind it depends on the time.
    pub text: String,
    /// Whether the login was refused as too busy.
    pub busy: bool,
}

/// An authenticator app: computes the TOTP codes of a user.
pub struct Authenticator(TotpSecret);

impl Authenticator {
    pub fn current_code(&self) -> String {
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

    /// Creates a user whose password is the user name. The first user must be `admin`.
    pub fn create_user(&mut self, username: &str) {
        let mut args = json!({"username": username, "password": username});
        if username != "admin" {
            args["executing_user"] = json!("admin");
            args["executing_user_password"] = json!("admin");
        }
        self.succeed("create_user", args);
    }

    /// Enables the second factor of a user.
    pub fn enable_otp(&mut self, username: &str) -> Authenticator {
        let mut args = json!({"username": username, "password": username, "dry_run": true});
        let proposal = self.succeed("enable_otp", args.clone());
        let secret = proposal["otp_secret"].as_str().unwrap();
        let authenticator = Authenticator(TotpSecret::from_base32(secret).unwrap());
        args["dry_run"] = json!(false);
        args["otp_secret"] = json!(secret);
        args["code"] = json!(authenticator.current_code());
        self.succeed("enable_otp", args);
        authenticator
    }

    /// Sends one login.
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

    /// Sends a request. Returns the time to the reply in microseconds, and the response.
    fn call(&mut self, action: &str, args: Value) -> (f64, Value) {
        self.last_id += 1;
        // All ids have the same length, so that each takes the same time to decode.
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
            .arg(REPLY_TIMEOUT);
        let start = Instant::now();
        let reply: redis::RedisResult<Vec<(String, String)>> = push_and_wait.query(&mut self.redis);
        let micros = start.elapsed().as_secs_f64() * 1e6;
        let (_, reply) = reply.unwrap().pop().expect("a reply");
        let mut reply: Value = serde_json::from_str(&reply).unwrap();
        (micros, reply["response"].take())
    }
}
