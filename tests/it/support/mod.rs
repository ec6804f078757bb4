//! A Redis, a daemon and a client for each test.
//!
//! Redis and the daemon listen on Unix sockets in a temporary folder of the test, so that all
//! tests can run in parallel. No test waits by sleeping.

mod client;
mod daemon;
pub mod line;
mod load;
mod notify_socket;
mod redis_server;
mod second_factor;
mod store;
pub mod strace;
mod terminal;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

pub use client::{Client, QUEUE, REPLIES, Reply};
pub use daemon::{Daemon, run_by, with_sighup};
pub use load::Load;
pub use notify_socket::NotifySocket;
pub use redis_server::RedisServer;
pub use second_factor::{Codes, credentials, credentials_with, enrol};
pub use store::{make_workdir, open_store, wait_until_closed};
pub use terminal::Terminal;

use crate::sled_files::copy_folder;

/// Time limit of every wait: longer than any successful wait, also on a busy machine.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

/// Names of users in `tests/data/store-hostile`: a text that Platypush evaluates, and a JSON text
/// that decodes to it. The password of each user is `pw`.
pub const EVALUATED: &str = r#"${__import__("os").system("touch $INJECTED")}"#;
pub const EVALUATED_ONCE_DECODED: &str =
    r#""\u0024{__import__(\"os\").system(\"touch $INJECTED\")}""#;

/// A Redis, a daemon on it and a client.
pub struct Setup {
    pub daemon: Daemon,
    pub client: Client,
    pub redis: RedisServer,
}

impl Setup {
    /// Starts a daemon with the default settings of [`Daemon::start`].
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// Same, with further configuration keys: names of environment variables without their
    /// prefix, such as `("MAX_REQUEST_AGE", "1")`.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        Self::on(RedisServer::start(), settings)
    }

    /// Same, on a given Redis.
    pub fn on(redis: RedisServer, settings: &[(&str, &str)]) -> Self {
        let daemon = Daemon::start(&redis, settings);
        Self {
            client: redis.client(),
            daemon,
            redis,
        }
    }

    /// Starts a daemon on a copy of `tests/data/store-hostile`, whose users have names that are
    /// rejected for new users.
    pub fn with_hostile_names(settings: &[(&str, &str)]) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/store-hostile");
        let workdir = folder.path().join("workdir");
        copy_folder(&stored, &workdir);
        // git does not store these file modes.
        for (path, mode) in [
            (workdir.clone(), 0o700),
            (workdir.join("secret.keys"), 0o600),
        ] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let redis = RedisServer::start();
        Self {
            daemon: Daemon::start_in(folder, &redis, settings),
            client: redis.client(),
            redis,
        }
    }

    /// Same as [`with`](Self::with), with a first user `alice` whose password is `secret`.
    pub fn with_alice(settings: &[(&str, &str)]) -> Self {
        Self::with_alice_on(RedisServer::start(), settings)
    }

    /// Same, on a given Redis.
    pub fn with_alice_on(redis: RedisServer, settings: &[(&str, &str)]) -> Self {
        let mut setup = Self::on(redis, settings);
        let reply = setup.client.call(
            "create_user",
            serde_json::json!({"username": "alice", "password": "secret"}),
        );
        assert_eq!(reply.output()["user_id"], 1, "{reply:?}");
        setup
    }

    /// Logs alice in and returns the session token.
    pub fn session_of_alice(&mut self) -> String {
        let reply = self.client.call(
            "create_session",
            serde_json::json!({"username": "alice", "password": "secret"}),
        );
        reply.ok()["session_token"].as_str().unwrap().to_owned()
    }
}

/// Changes a closed database directly, without the store.
pub fn change_database(workdir: &Path, change: impl FnOnce(&sled::Db)) {
    let database = sled::Config::new()
        .path(workdir.join("db"))
        .segment_size(4 << 20)
        .open()
        .unwrap();
    change(&database);
    database.flush().unwrap();
    drop(database);
    wait_until_closed(workdir);
}
