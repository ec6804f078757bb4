//! The configuration: defaults, one file and environment variables.
//!
//! `source.rs` reads these layers into raw settings with their sources, and `check.rs` converts
//! them to a [`Config`]. Both continue after a problem, so that [`load`] reports all problems at
//! once. [`keys::ALL`] is the table of all keys. The defaults are `config.example.yaml`, which is
//! compiled in.

mod check;
mod dump;
mod environment;
mod events;
pub mod keys;
mod problem;
mod redis;
mod source;
pub(crate) mod suggest;
#[cfg(test)]
mod tests;
mod yaml;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::SessionLimits;

pub use environment::Environment;
pub use events::Destination;
pub use problem::{Problem, Problems, SettingSource};
pub use redis::{ClientFiles, Redis, TlsFiles};
pub(crate) use source::AS_OWNER_VARIABLE;
pub use source::EXAMPLE;
use source::Settings;

/// A checked configuration. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Config {
    /// Sender name in replies. Not empty.
    pub device_id: String,
    /// Folder of the database. May not exist yet.
    pub workdir: PathBuf,
    /// Connection to Redis.
    pub redis: Redis,
    /// Redis list of requests.
    pub queue: String,
    /// Prefix of the Redis list of a reply; the id of the request follows. The checks exclude that
    /// an id makes it the queue, or a list whose name begins with the queue's name and a colon.
    pub reply_prefix: String,
    /// Time after which an unread reply expires; at least a second.
    pub reply_ttl: Duration,
    /// Whether requests for targets other than `device_id` are run.
    pub accept_any_target: bool,
    /// SHA-256 of the token that requests must contain, if any.
    pub token_hash: Option<ClientTokenHash>,
    /// Maximum age of a request, if limited.
    pub max_request_age: Option<Duration>,
    /// Maximum expected wait for a turn. A request that would wait longer is refused.
    pub max_login_wait: Duration,
    /// Maximum number of requests in flight; at least 1.
    pub max_in_flight: usize,
    /// Maximum size of a request in bytes.
    pub max_message_size: usize,
    /// Maximum length of a user name in bytes.
    pub max_username_length: usize,
    /// Maximum length of a request's id in bytes.
    pub max_id_length: usize,
    /// Maximum time to finish started requests at shutdown.
    pub shutdown_timeout: Duration,
    /// Time after which a write to the database is considered hung.
    pub write_timeout: Duration,
    /// File of the sealing keys. `None`: the file in the working directory.
    pub secret_keys_file: Option<PathBuf>,
    /// Limits of sessions.
    pub session: Session,
    /// Limit of failed attempts.
    pub throttle: Throttle,
    /// Hashing of passwords and rules for new ones.
    pub password: Password,
    /// Destinations of events, without duplicates.
    pub publish: Vec<Destination>,
    /// Level and format of the log.
    pub log: Log,
    /// Warnings about valid but inadvisable values, which are logged once at start.
    pub warnings: Vec<String>,
}

/// SHA-256 of the token that clients send. `Debug` does not show it: the token may be guessable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientTokenHash(pub [u8; 32]);

impl fmt::Debug for ClientTokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTokenHash([hidden])")
    }
}

/// Limits of sessions, in addition to their own expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Limits of every session.
    pub limits: SessionLimits,
    /// Whether a password change ends all sessions of the user.
    pub revoke_on_password_change: bool,
}

/// Limit of failed attempts under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Number of consecutive failures after which a name is locked; 0: never.
    pub failures: u32,
}

/// Hashing of passwords and rules for new ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Password {
    /// Cost of a hash.
    pub argon2: argon2::Params,
    /// Number of passwords that are hashed at the same time.
    pub threads: NonZeroUsize,
    /// Minimum length of a new password in characters.
    pub min_length: usize,
    /// Maximum length of a password in bytes; not less than `min_length`.
    pub max_length: usize,
    /// File of passwords that are rejected as new passwords, if any.
    pub blocklist_file: Option<PathBuf>,
}

/// Level and format of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Maximum level of logged messages.
    pub level: tracing::Level,
    /// Format of a line.
    pub format: LogFormat,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A configuration and its sources. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The checked configuration.
    pub config: Config,
    /// The file that was read, if one was named or found.
    pub file: Option<PathBuf>,
    // Text instead of the settings, which contain secrets in clear and are dropped.
    dump: String,
}

impl Loaded {
    /// Returns all effective values as YAML, each with its source in a comment. Secrets are hidden.
    /// If none is set, the text is a file of the same configuration.
    #[must_use]
    pub fn dump(&self) -> &str {
        &self.dump
    }
}

/// Reads and checks the configuration.
///
/// The environment overrides the file, and the file overrides the defaults. The file is the one
/// that `explicit` or the environment names, or else the first one that is found.
///
/// # Errors
///
/// All problems at once: a named file that cannot be read, text that is not YAML, unknown and
/// repeated keys, invalid values.
pub fn load(explicit: Option<&Path>, env: &Environment) -> Result<Loaded, Problems> {
    let mut settings = Settings::defaults();
    let file = source::find_file(explicit, env).unwrap_or_else(|problem| {
        settings.problems.push(problem);
        None
    });
    if let Some((path, text)) = &file {
        settings.read_file(path, text);
    }
    settings.read_environment(env);
    let config = settings.check(env);
    if !settings.problems.is_empty() {
        return Err(Problems::new(settings.problems));
    }
    Ok(Loaded {
        dump: dump::dump(&settings, &config),
        config,
        file: file.map(|(path, _)| path),
    })
}
