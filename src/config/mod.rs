//! The configuration: from defaults, one file and the environment to values the
//! daemon can rely on.
//!
//! `source.rs` reads the layers into raw settings, each with its place;
//! `check.rs` makes a [`Config`] of them. Both go on after a problem, so that
//! [`load`] reports all of them at once. The keys are one table, [`keys::ALL`];
//! the defaults are `config.example.yaml`, which is compiled in.

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

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

pub use environment::Environment;
pub use events::Destination;
pub use problem::{Place, Problem, Problems};
pub use redis::{ClientFiles, Redis, TlsFiles};
pub use source::EXAMPLE;

/// A configuration that was checked: everything in it can be used as it is.
///
/// `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name given as the sender of replies. Not empty.
    pub device_id: String,
    /// The folder of the database. It need not exist yet.
    pub workdir: PathBuf,
    /// How to reach Redis.
    pub redis: Redis,
    /// The Redis list that requests are taken from.
    pub queue: String,
    /// The Redis list of a reply is this and the request's id. No id makes it
    /// the queue, or a list whose name is the queue's and a colon with more.
    pub reply_prefix: String,
    /// How long a reply waits to be fetched; at least a second.
    pub reply_ttl: Duration,
    /// Whether requests addressed to others than `device_id` are run too.
    pub accept_any_target: bool,
    /// The SHA-256 of the token every request must carry, in 64 lower-case
    /// hexadecimal digits; none: no token is asked for.
    pub token_hash: Option<SecretString>,
    /// The age above which a request is refused; none: any age will do.
    pub max_request_age: Option<Duration>,
    /// The expected wait for a turn from which a request is refused.
    pub max_login_wait: Duration,
    /// How many requests are worked on at once; at least 1.
    pub max_in_flight: usize,
    /// The longest request in bytes.
    pub max_message_size: usize,
    /// The longest user name in bytes.
    pub max_username_length: usize,
    /// The longest id of a request in bytes.
    pub max_id_length: usize,
    /// How long work that has begun may go on when the daemon is told to stop.
    pub shutdown_timeout: Duration,
    /// How long a write to the database takes at most, unless it hangs.
    pub write_timeout: Duration,
    /// The file of the keys that seal; none: a systemd credential, or a file
    /// in the working directory.
    pub secret_keys_file: Option<PathBuf>,
    /// How long sessions last.
    pub session: Session,
    /// How fast one name can be tried.
    pub throttle: Throttle,
    /// How passwords are hashed, and which are taken.
    pub password: Password,
    /// Where events are published, each place once; empty: nowhere.
    pub publish: Vec<Destination>,
    /// What is logged.
    pub log: Log,
    /// What is allowed but better changed: to be logged once at start.
    pub warnings: Vec<String>,
}

/// How long sessions last, whatever they were promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Since it was made; none: for ever.
    pub max_lifetime: Option<Duration>,
    /// Since its last use; none: for ever.
    pub idle_timeout: Option<Duration>,
    /// Whether a password change ends all sessions of the user.
    pub revoke_on_password_change: bool,
}

/// How fast one name can be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Failures in a row from which on it has to wait; 0: never.
    pub failures: u32,
}

/// How passwords are hashed, and which are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Password {
    /// Argon2's memory in KiB. `argon2::Params` takes this and the next two.
    pub memory_kib: u32,
    /// Argon2's passes over the memory.
    pub iterations: u32,
    /// Argon2's lanes.
    pub parallelism: u32,
    /// How many passwords are hashed at the same time; at least 1.
    pub threads: usize,
    /// The shortest new password in characters.
    pub min_length: usize,
    /// The longest password in bytes; not less than `min_length`.
    pub max_length: usize,
    /// Passwords that are not taken; none: any is.
    pub blocklist_file: Option<PathBuf>,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Events up to this level.
    pub level: tracing::Level,
    /// In this form.
    pub format: LogFormat,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines to be read by people.
    Text,
    /// A JSON object a line.
    Json,
}

/// A configuration and how it came about. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What holds.
    pub config: Config,
    /// The file that was read; none: no file was named or found.
    pub file: Option<PathBuf>,
    // Made at once: the settings hold secrets in clear, and are dropped.
    dump: String,
}

impl Loaded {
    /// Every effective value as YAML, each with a comment on where it came
    /// from; secrets are hidden. Where none is set, the text can be loaded as a
    /// file and gives the same configuration.
    #[must_use]
    pub fn dump(&self) -> &str {
        &self.dump
    }
}

/// Reads and checks the configuration: the defaults, over them the file that
/// `explicit` or the environment names or that is found first, over that the
/// environment.
///
/// # Errors
///
/// Everything that is wrong, at once: a file that was named but cannot be read,
/// text that is not YAML, unknown and repeated keys, values that will not do.
pub fn load(explicit: Option<&Path>, env: &Environment) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let mut settings = source::Settings::defaults(&mut problems);
    let file = source::find_file(explicit, env).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    if let Some((path, text)) = &file {
        settings.read_file(path, text, &mut problems);
    }
    settings.read_environment(env, &mut problems);
    let config = check::check(&mut settings, env, &mut problems);
    if !problems.is_empty() {
        return Err(Problems::new(problems));
    }
    Ok(Loaded {
        dump: dump::dump(&settings, &config),
        config,
        file: file.map(|(path, _)| path),
    })
}
