//! The table of configuration keys.
//!
//! It defines the keys of files and variables, their values and their documentation. The defaults
//! are in `config.example.yaml`.
//!
//! `ARCHITECTURE.md` has the recipe for a new key.

use super::source::Settings;

/// Prefix of the environment variables that set keys.
pub const ENV_PREFIX: &str = "PLATYPUSH_USERD_";

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    /// Name of the key, with its section, if any: `section.name`.
    pub path: &'static str,
    /// Type of its values.
    pub kind: Kind,
    /// Description in one line, with the unit.
    pub doc: &'static str,
}

/// Type of the values of a key. Each key also accepts `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One line of text, not empty.
    Text,
    /// Path of a file or folder.
    Path,
    /// Secret text, which is never shown.
    Secret,
    /// An address, which may contain a password. The password is never shown.
    Url,
    /// `true` or `false`.
    Boolean,
    /// An integer, both bounds included.
    Integer {
        /// Minimum value.
        min: u64,
        /// Maximum value.
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts, each one line and not empty. A variable separates them by commas.
    List,
}

impl Key {
    /// Returns the section of the key, if it has one.
    #[must_use]
    pub fn section(&self) -> Option<&'static str> {
        self.path.split_once('.').map(|(section, _)| section)
    }

    /// Returns the name of the key within its section.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path
            .split_once('.')
            .map_or(self.path, |(_, name)| name)
    }

    /// Returns the environment variable that sets the key.
    #[must_use]
    pub fn env_name(&self) -> String {
        env_name(self.path)
    }

    /// Returns the default from `config.example.yaml`: `null` if it is computed, or if the key is
    /// off by default.
    #[must_use]
    pub fn default_text(&self) -> String {
        Settings::defaults().yaml(self)
    }
}

/// Returns the environment variable of a path.
pub(super) fn env_name(path: &str) -> String {
    let path = path.replace('.', "__").to_ascii_uppercase();
    format!("{ENV_PREFIX}{path}")
}

/// Returns the key with a path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    ALL.iter().copied().find(|key| key.path == path)
}

/// Returns the keys of a section, in order.
pub fn in_section(section: &str) -> impl Iterator<Item = &'static Key> {
    ALL.iter()
        .copied()
        .filter(move |key| key.section() == Some(section))
}

/// A year in seconds, the maximum of most durations.
const YEAR: u64 = 365 * 24 * 60 * 60;

const fn integer(min: u64, max: u64) -> Kind {
    Kind::Integer { min, max }
}

macro_rules! keys {
    ($($name:ident = $path:literal, $kind:expr, $doc:literal;)*) => {
        $(#[doc = concat!("`", $path, "`: ", $doc)]
        pub static $name: Key = Key { path: $path, kind: $kind, doc: $doc };)*

        /// All keys, in the order of `config.example.yaml`. The keys of a section are adjacent.
        pub static ALL: &[&Key] = &[$(&$name),*];
    };
}

keys! {
    DEVICE_ID = "device_id", Kind::Text, "sender name in replies";
    WORKDIR = "workdir", Kind::Path, "folder of the database";
    REDIS_URL = "redis.url", Kind::Url, "address of the Redis server";
    REDIS_HOST = "redis.host", Kind::Text, "name or IP address of the Redis server, instead of `redis.url`";
    REDIS_PORT = "redis.port", integer(1, 65_535), "port of the Redis server";
    REDIS_USERNAME = "redis.username", Kind::Text, "user name for the Redis login";
    REDIS_PASSWORD = "redis.password", Kind::Secret, "password for the Redis login";
    REDIS_DB = "redis.db", integer(0, i32::MAX as u64), "number of the Redis database";
    REDIS_SSL = "redis.ssl", Kind::Boolean, "whether the connection to Redis is encrypted (TLS)";
    REDIS_SSL_CA_CERTS = "redis.ssl_ca_certs", Kind::Path, "PEM file of the certificate authorities to trust for the Redis server";
    REDIS_SSL_CERTFILE = "redis.ssl_certfile", Kind::Path, "PEM file of the daemon's client certificate for Redis";
    REDIS_SSL_KEYFILE = "redis.ssl_keyfile", Kind::Path, "PEM file of the private key of that certificate";
    QUEUE = "queue", Kind::Text, "Redis list of requests";
    REPLY_PREFIX = "reply_prefix", Kind::Text, "prefix of the Redis list of a reply; the id of the request follows";
    REPLY_TTL = "reply_ttl", integer(1, YEAR), "seconds after which an unread reply expires";
    ACCEPT_ANY_TARGET = "accept_any_target", Kind::Boolean, "whether requests for any target are run, or only those for `device_id`";
    TOKEN_HASH = "token_hash", Kind::Secret, "SHA-256, in hexadecimal, of the token that every request must contain";
    MAX_REQUEST_AGE = "max_request_age", integer(0, YEAR), "maximum age of a request in seconds; 0: no limit";
    MAX_LOGIN_WAIT = "max_login_wait", integer(1, 3600), "maximum expected wait in seconds; a login or listing that would wait longer is refused";
    MAX_IN_FLIGHT = "max_in_flight", integer(1, 1_000_000), "maximum number of requests in flight, besides those that wait for their turn";
    MAX_MESSAGE_SIZE = "max_message_size", integer(1 << 10, 64 << 20), "maximum size of a request in bytes";
    MAX_USERNAME_LENGTH = "max_username_length", integer(1, 4096), "maximum length of a user name in bytes";
    MAX_ID_LENGTH = "max_id_length", integer(1, 4096), "maximum length of a request id in bytes";
    SHUTDOWN_TIMEOUT = "shutdown_timeout", integer(1, 3600), "maximum time in seconds to finish started requests at shutdown";
    WRITE_TIMEOUT = "write_timeout", integer(1, 3600), "seconds after which a write to the database counts as hung and the daemon ends itself";
    SECRET_KEYS_FILE = "secret_keys_file", Kind::Path, "file of the keys that seal (encrypt) secrets in the database";
    SESSION_MAX_LIFETIME = "session.max_lifetime", integer(0, 1 << 32), "seconds after which every session expires; 0: never";
    SESSION_IDLE_TIMEOUT = "session.idle_timeout", integer(0, 1 << 32), "seconds without use after which every session expires; 0: never";
    SESSION_REVOKE = "session.revoke_on_password_change", Kind::Boolean, "whether a password change ends all sessions of the user";
    THROTTLE_FAILURES = "throttle.failures", integer(0, 100), "consecutive failures after which a name is locked; 0: never";
    PASSWORD_MEMORY_KIB = "password.memory_kib", integer(argon2::Params::MIN_M_COST as u64, argon2::Params::MAX_M_COST as u64), "memory for one password hash in KiB";
    PASSWORD_ITERATIONS = "password.iterations", integer(argon2::Params::MIN_T_COST as u64, argon2::Params::MAX_T_COST as u64), "number of passes over that memory";
    PASSWORD_PARALLELISM = "password.parallelism", integer(argon2::Params::MIN_P_COST as u64, argon2::Params::MAX_P_COST as u64), "number of lanes of one password hash";
    PASSWORD_THREADS = "password.threads", integer(1, 1024), "number of hashing threads";
    PASSWORD_MIN_LENGTH = "password.min_length", integer(1, 1 << 20), "minimum length of a new password in characters (NIST: 8 with a second factor, 15 without)";
    PASSWORD_MAX_LENGTH = "password.max_length", integer(1, 1 << 20), "maximum length of a password in bytes";
    PASSWORD_BLOCKLIST_FILE = "password.blocklist_file", Kind::Path, "file of passwords that are rejected as new passwords, one per line";
    EVENTS_PUBLISH = "events.publish", Kind::List, "Redis channels and lists (`list:NAME`) of Platypush nodes to publish events to";
    LOG_LEVEL = "log.level", Kind::Choice(&["error", "warn", "info", "debug", "trace"]), "log level";
    LOG_FORMAT = "log.format", Kind::Choice(&["text", "json"]), "format of the log: `text` for people, `json` for programs";
}
