//! A Redis and a daemon for each test, and a client that speaks to them.
//!
//! Everything listens on a unix socket in a folder of the test, so that all
//! tests run at once; nothing waits by sleeping.

mod client;
mod daemon;
mod redis_server;
mod store;

pub use client::{Client, QUEUE, REPLIES, Reply};
pub use daemon::Daemon;
pub use redis_server::RedisServer;
pub use store::{open_store, wait_until_closed};

/// A Redis, a daemon on it and a client of both, with cheap password hashes.
pub struct Setup {
    pub daemon: Daemon,
    pub client: Client,
    pub redis: RedisServer,
}

impl Setup {
    /// With the defaults, cheap hashes excepted.
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// With configuration keys on top, as environment variables without
    /// their prefix: `("MAX_REQUEST_AGE", "1")`.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start();
        let daemon = Daemon::start(&redis, settings);
        Self {
            client: redis.client(),
            daemon,
            redis,
        }
    }

    /// The same with a first user, `alice` of password `secret`.
    pub fn with_alice(settings: &[(&str, &str)]) -> Self {
        let mut setup = Self::with(settings);
        let reply = setup.client.call(
            "create_user",
            serde_json::json!({"username": "alice", "password": "secret"}),
        );
        assert_eq!(reply.output()["user_id"], 1, "{reply:?}");
        setup
    }
}
