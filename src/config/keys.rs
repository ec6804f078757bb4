//! The one table of configuration keys.
//!
//! What a file or a variable may set, which values it takes and what the
//! documentation says all follow from here. The defaults do not stand here but
//! in `config.example.yaml`.
//!
//! A new key is a row here, a commented line in `config.example.yaml`, a field
//! of [`Config`](super::Config) filled in `check.rs`, and a case in `tests.rs`.

use super::source::Settings;

/// What every variable that sets a key begins with.
pub const ENV_PREFIX: &str = "PLATYPUSH_USERD_";

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    /// Its name; with a section, `section.name`.
    pub path: &'static str,
    /// The values it takes.
    pub kind: Kind,
    /// What it is for, in one line, with its unit.
    pub doc: &'static str,
}

/// The values a key takes, besides `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text on one line, not empty.
    Text,
    /// The path of a file or folder.
    Path,
    /// Text that is shown nowhere.
    Secret,
    /// An address that may hold a password, which is shown nowhere.
    Url,
    /// `true` or `false`.
    Boolean,
    /// A whole number, both bounds included.
    Integer {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts, each on one line, not empty; in a variable with commas
    /// between them.
    List,
}

impl Key {
    /// The section the key stands in, where it stands in one.
    #[must_use]
    pub fn section(&self) -> Option<&'static str> {
        self.path.split_once('.').map(|(section, _)| section)
    }

    /// The key as it is written within its section.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path
            .split_once('.')
            .map_or(self.path, |(_, name)| name)
    }

    /// Whether its value may hold a secret.
    #[must_use]
    pub const fn secret(&self) -> bool {
        matches!(self.kind, Kind::Secret | Kind::Url)
    }

    /// The environment variable that sets it.
    #[must_use]
    pub fn env_name(&self) -> String {
        env_name(self.path)
    }

    /// The default as it stands in `config.example.yaml`; `null` where it is
    /// computed or the key is off.
    #[must_use]
    pub fn default_text(&self) -> String {
        Settings::defaults(&mut Vec::new()).text(self)
    }
}

/// The environment variable for a path.
pub(super) fn env_name(path: &str) -> String {
    let path = path.replace('.', "__").to_ascii_uppercase();
    format!("{ENV_PREFIX}{path}")
}

/// The key of a path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    ALL.iter().copied().find(|key| key.path == path)
}

/// The keys of a section, in order.
pub fn in_section(section: &str) -> impl Iterator<Item = &'static Key> {
    ALL.iter()
        .copied()
        .filter(move |key| key.section() == Some(section))
}

/// A year in seconds: as long as anything may take.
const YEAR: u64 = 365 * 24 * 60 * 60;

const fn integer(min: u64, max: u64) -> Kind {
    Kind::Integer { min, max }
}

macro_rules! keys {
    ($($name:ident = $path:literal, $kind:expr, $doc:literal;)*) => {
        $(#[doc = concat!("`", $path, "`: ", $doc)]
        pub static $name: Key = Key { path: $path, kind: $kind, doc: $doc };)*

        /// Every key, in the order of `config.example.yaml`: those of a section
        /// stand together.
        pub static ALL: &[&Key] = &[$(&$name),*];
    };
}

keys! {
    DEVICE_ID = "device_id", Kind::Text, "name given as the sender of replies";
    WORKDIR = "workdir", Kind::Path, "folder of the database";
    REDIS_URL = "redis.url", Kind::Url, "address of the Redis server";
    REDIS_HOST = "redis.host", Kind::Text, "name or IP address of the Redis server, instead of `redis.url`";
    REDIS_PORT = "redis.port", integer(1, 65_535), "port of the Redis server";
    REDIS_USERNAME = "redis.username", Kind::Text, "user to log in to Redis as";
    REDIS_PASSWORD = "redis.password", Kind::Secret, "password to log in to Redis with";
    REDIS_DB = "redis.db", integer(0, i32::MAX as u64), "number of the Redis database";
    REDIS_SSL = "redis.ssl", Kind::Boolean, "whether the connection to Redis is encrypted (TLS)";
    REDIS_SSL_CA_CERTS = "redis.ssl_ca_certs", Kind::Path, "PEM file of the authorities that may vouch for the Redis server";
    REDIS_SSL_CERTFILE = "redis.ssl_certfile", Kind::Path, "PEM file of the daemon's own certificate for Redis";
    REDIS_SSL_KEYFILE = "redis.ssl_keyfile", Kind::Path, "PEM file of the private key of that certificate";
    QUEUE = "queue", Kind::Text, "Redis list that requests are taken from";
    REPLY_PREFIX = "reply_prefix", Kind::Text, "name of the Redis list of a reply, up to the request's id";
    REPLY_TTL = "reply_ttl", integer(1, YEAR), "seconds a reply waits to be fetched";
    ACCEPT_ANY_TARGET = "accept_any_target", Kind::Boolean, "whether requests addressed to other nodes are run too";
    TOKEN_HASH = "token_hash", Kind::Secret, "SHA-256, in hexadecimal, of the token every request must carry";
    MAX_REQUEST_AGE = "max_request_age", integer(0, YEAR), "seconds after which a request is refused as too old; 0: never";
    MAX_LOGIN_WAIT = "max_login_wait", integer(1, 3600), "seconds of expected wait from which a login is refused as too busy";
    MAX_IN_FLIGHT = "max_in_flight", integer(1, 1_000_000), "requests worked on at once, besides those that wait for their turn";
    MAX_MESSAGE_SIZE = "max_message_size", integer(1 << 10, 64 << 20), "longest request in bytes";
    MAX_USERNAME_LENGTH = "max_username_length", integer(1, 4096), "longest user name in bytes";
    MAX_ID_LENGTH = "max_id_length", integer(1, 4096), "longest request id in bytes";
    SHUTDOWN_TIMEOUT = "shutdown_timeout", integer(1, 3600), "seconds to finish work in when told to stop";
    WRITE_TIMEOUT = "write_timeout", integer(1, 3600), "seconds after which a write counts as hung and the daemon ends itself";
    SECRET_KEYS_FILE = "secret_keys_file", Kind::Path, "file of the keys that seal secrets in the database";
    SESSION_MAX_LIFETIME = "session.max_lifetime", integer(0, 1 << 32), "seconds after which any session ends; 0: never";
    SESSION_IDLE_TIMEOUT = "session.idle_timeout", integer(0, 1 << 32), "seconds without use after which any session ends; 0: never";
    SESSION_REVOKE = "session.revoke_on_password_change", Kind::Boolean, "whether a password change ends all sessions of the user";
    THROTTLE_FAILURES = "throttle.failures", integer(0, 100), "failed attempts under one name after which it has to wait; 0: never";
    PASSWORD_MEMORY_KIB = "password.memory_kib", integer(argon2::Params::MIN_M_COST as u64, argon2::Params::MAX_M_COST as u64), "memory of one password hash in KiB";
    PASSWORD_ITERATIONS = "password.iterations", integer(argon2::Params::MIN_T_COST as u64, argon2::Params::MAX_T_COST as u64), "passes over that memory";
    PASSWORD_PARALLELISM = "password.parallelism", integer(argon2::Params::MIN_P_COST as u64, argon2::Params::MAX_P_COST as u64), "lanes of one password hash";
    PASSWORD_THREADS = "password.threads", integer(1, 1024), "passwords hashed at the same time";
    PASSWORD_MIN_LENGTH = "password.min_length", integer(1, 1 << 20), "shortest new password in characters (NIST: 8 with a second factor, 15 without)";
    PASSWORD_MAX_LENGTH = "password.max_length", integer(1, 1 << 20), "longest password in bytes";
    PASSWORD_BLOCKLIST_FILE = "password.blocklist_file", Kind::Path, "file of passwords that are not taken, one a line";
    EVENTS_PUBLISH = "events.publish", Kind::List, "Redis channels, and lists (`list:NAME`), of Platypush nodes that are told what happens to users";
    LOG_LEVEL = "log.level", Kind::Choice(&["error", "warn", "info", "debug", "trace"]), "how much is logged";
    LOG_FORMAT = "log.format", Kind::Choice(&["text", "json"]), "whether the log is for people or for programs";
}
