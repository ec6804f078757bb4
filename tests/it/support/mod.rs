//! A Redis and a daemon for each test, and a client that speaks to them.
//!
//! Everything listens on a unix socket in a folder of the test, so that all
//! tests run at once; nothing waits by sleeping.

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

/// Longer than anything takes that works, also on a machine that is busy with
/// something else.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

/// Names of users in `tests/data/store-hostile`: what Platypush evaluates, and JSON that becomes it.
/// The password of each is `pw`.
pub const EVALUATED: &str = r#"${__import__("os").system("touch $INJECTED")}"#;
pub const EVALUATED_ONCE_DECODED: &str =
    r#""\u0024{__import__(\"os\").system(\"touch $INJECTED\")}""#;

/// A Redis, a daemon on it and a client of both, with cheap password hashes.
pub struct Setup {
    pub daemon: Daemon,
    pub client: Client,
    pub redis: RedisServer,
}

impl Setup {
    /// With the defaults, but cheap hashes and no throttle.
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// With configuration keys on top, as environment variables without
    /// their prefix: `("MAX_REQUEST_AGE", "1")`.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        Self::on(RedisServer::start(), settings)
    }

    /// The same on a Redis with options of its own.
    pub fn on(redis: RedisServer, settings: &[(&str, &str)]) -> Self {
        let daemon = Daemon::start(&redis, settings);
        Self {
            client: redis.client(),
            daemon,
            redis,
        }
    }

    /// On a copy of `tests/data/store-hostile`, whose users have names that no user gets today.
    pub fn with_hostile_names(settings: &[(&str, &str)]) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/store-hostile");
        let workdir = folder.path().join("workdir");
        copy_folder(&stored, &workdir);
        // git keeps no modes.
        for (path, mode) in [
            (workdir.clone(), 0o700),
            (workdir.join("secret.keys"), 0o600),
        ] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        // An older version wrote it.
        change_database(&workdir, |database| {
            database.insert("m:schema", &5_u32.to_be_bytes()).unwrap();
        });
        let redis = RedisServer::start();
        Self {
            daemon: Daemon::start_in(folder, &redis, settings),
            client: redis.client(),
            redis,
        }
    }

    /// The same with a first user, `alice` of password `secret`.
    pub fn with_alice(settings: &[(&str, &str)]) -> Self {
        Self::with_alice_on(RedisServer::start(), settings)
    }

    /// The same on a Redis with options of its own.
    pub fn with_alice_on(redis: RedisServer, settings: &[(&str, &str)]) -> Self {
        let mut setup = Self::on(redis, settings);
        let reply = setup.client.call(
            "create_user",
            serde_json::json!({"username": "alice", "password": "secret"}),
        );
        assert_eq!(reply.output()["user_id"], 1, "{reply:?}");
        setup
    }

    /// Logs alice in; gives the token.
    pub fn session_of_alice(&mut self) -> String {
        let reply = self.client.call(
            "create_session",
            serde_json::json!({"username": "alice", "password": "secret"}),
        );
        reply.ok()["session_token"].as_str().unwrap().to_owned()
    }
}

/// Changes a closed database behind the program's back.
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
