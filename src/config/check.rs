//! Converts settings to a [`Config`]: computes defaults, and checks the meaning of values and the
//! rules between keys.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;

use super::keys::{self, Key};
use super::problem::{Problem, SettingSource};
use super::source::{Setting, Settings, Value};
use super::{ClientTokenHash, Config, Environment, Log, LogFormat, Password, Session, Throttle};
use crate::model::SessionLimits;

/// The list from which a Platypush node takes its own messages.
const PLATYPUSH_QUEUE: &str = "platypush/backend/redis";

/// Memory in KiB and iterations of Argon2id that OWASP considers equivalent (Password Storage Cheat
/// Sheet). A configuration should reach at least one of them.
const OWASP_MINIMUM: [(u32, u32); 5] = [
    (46 * 1024, 1),
    (19 * 1024, 2),
    (12 * 1024, 3),
    (9 * 1024, 4),
    (7 * 1024, 5),
];

/// Checks the settings, and adds computed values to them. The result is valid only if no problem
/// was added.
pub(super) fn check(
    settings: &mut Settings,
    env: &Environment,
    problems: &mut Vec<Problem>,
) -> Config {
    let mut check = Checker { settings, problems };
    let mut warnings = Vec::new();
    let config = Config {
        device_id: check.device_id(env),
        workdir: check.workdir(env),
        redis: check.redis(),
        queue: check.queue(),
        reply_prefix: check.reply_prefix(),
        reply_ttl: check.seconds(&keys::REPLY_TTL),
        accept_any_target: check.boolean(&keys::ACCEPT_ANY_TARGET),
        token_hash: check.token_hash(),
        max_request_age: check.optional_seconds(&keys::MAX_REQUEST_AGE),
        max_login_wait: check.seconds(&keys::MAX_LOGIN_WAIT),
        max_in_flight: check.size(&keys::MAX_IN_FLIGHT),
        max_message_size: check.size(&keys::MAX_MESSAGE_SIZE),
        max_username_length: check.size(&keys::MAX_USERNAME_LENGTH),
        max_id_length: check.size(&keys::MAX_ID_LENGTH),
        shutdown_timeout: check.seconds(&keys::SHUTDOWN_TIMEOUT),
        write_timeout: check.seconds(&keys::WRITE_TIMEOUT),
        secret_keys_file: check.secret_keys_file(env),
        session: Session {
            limits: SessionLimits {
                max_lifetime: check.session_limit(&keys::SESSION_MAX_LIFETIME),
                idle_timeout: check.session_limit(&keys::SESSION_IDLE_TIMEOUT),
            },
            revoke_on_password_change: check.boolean(&keys::SESSION_REVOKE),
        },
        throttle: Throttle {
            failures: u32::try_from(check.size(&keys::THROTTLE_FAILURES)).unwrap_or(u32::MAX),
        },
        password: check.password(env, &mut warnings),
        publish: check.destinations(),
        log: check.log(),
        warnings: Vec::new(),
    };
    Config { warnings, ..config }
}

/// Reads settings as typed values and collects problems.
///
/// Each key that is read by [`integer`], [`boolean`] or [`text`](Self::text) has a default; a test
/// proves it.
///
/// [`integer`]: Self::integer
/// [`boolean`]: Self::boolean
pub(super) struct Checker<'a> {
    pub settings: &'a mut Settings,
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    /// Reports a problem with the value of a key.
    pub(super) fn problem(&mut self, key: &Key, text: &str) {
        let Setting { source, .. } = self.settings.get(key);
        let text = format!("{} {text}", key.path);
        self.problems.push(Problem::new(&source, text));
    }

    /// Reports a conflict of two keys, at the one of the higher layer or later line.
    fn conflict(&mut self, a: &Key, b: &Key, text: &str) {
        let (source_a, source_b) = (self.settings.get(a).source, self.settings.get(b).source);
        let (key, other, source) = if source_a >= source_b {
            (a, b, source_b)
        } else {
            (b, a, source_a)
        };
        let text = format!("conflicts with {} ({source}): {text}", other.path);
        self.problem(key, &text);
    }

    pub(super) fn optional_text(&self, key: &Key) -> Option<String> {
        match self.settings.get(key).value {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn optional_integer(&self, key: &Key) -> Option<u64> {
        match self.settings.get(key).value {
            Some(Value::Integer(number)) => Some(number),
            _ => None,
        }
    }

    pub(super) fn optional_boolean(&self, key: &Key) -> Option<bool> {
        match self.settings.get(key).value {
            Some(Value::Boolean(value)) => Some(value),
            _ => None,
        }
    }

    /// Returns a list, which is empty if the key has no value.
    pub(super) fn list(&self, key: &Key) -> Vec<String> {
        match self.settings.get(key).value {
            Some(Value::List(texts)) => texts,
            _ => Vec::new(),
        }
    }

    pub(super) fn text(&mut self, key: &Key) -> String {
        let text = self.optional_text(key);
        self.required(key, text)
    }

    fn integer(&mut self, key: &Key) -> u64 {
        let number = self.optional_integer(key);
        self.required(key, number)
    }

    fn boolean(&mut self, key: &Key) -> bool {
        let value = self.optional_boolean(key);
        self.required(key, value)
    }

    fn required<T: Default>(&mut self, key: &Key, value: Option<T>) -> T {
        value.unwrap_or_else(|| {
            self.problem(key, "has no value and no default");
            T::default()
        })
    }

    /// Returns a number of seconds, or `None` for 0.
    fn optional_seconds(&mut self, key: &Key) -> Option<Duration> {
        Some(self.seconds(key)).filter(|duration| !duration.is_zero())
    }

    fn session_limit(&mut self, key: &Key) -> Option<TimeDelta> {
        // Cannot saturate: the maximum of the key is far below that of the type.
        let limit = self.optional_seconds(key)?;
        Some(TimeDelta::from_std(limit).unwrap_or(TimeDelta::MAX))
    }

    fn seconds(&mut self, key: &Key) -> Duration {
        Duration::from_secs(self.integer(key))
    }

    // The maxima of the keys fit the types: saturation only avoids an error that cannot occur.

    fn size(&mut self, key: &Key) -> usize {
        self.integer(key).try_into().unwrap_or(usize::MAX)
    }

    fn u32(&mut self, key: &Key) -> u32 {
        self.integer(key).try_into().unwrap_or(u32::MAX)
    }

    fn set_computed(&mut self, key: &'static Key, value: Value, origin: &'static str) {
        self.settings
            .put(key, Some(value), SettingSource::Computed(origin));
    }

    fn device_id(&mut self, env: &Environment) -> String {
        if let Some(name) = self.optional_text(&keys::DEVICE_ID) {
            return name;
        }
        let Some(name) = env.host_name.clone() else {
            self.problem(
                &keys::DEVICE_ID,
                "must be set: this machine has no host name",
            );
            return String::new();
        };
        let value = Value::Text(name.clone());
        self.set_computed(&keys::DEVICE_ID, value, "host name");
        name
    }

    fn secret_keys_file(&mut self, env: &Environment) -> Option<PathBuf> {
        if let Some(file) = self.optional_text(&keys::SECRET_KEYS_FILE) {
            return Some(file.into());
        }
        let file = env.credential("secret.keys")?;
        let value = Value::Text(file.to_string_lossy().into_owned());
        self.set_computed(&keys::SECRET_KEYS_FILE, value, "$CREDENTIALS_DIRECTORY");
        Some(file)
    }

    fn workdir(&mut self, env: &Environment) -> PathBuf {
        if let Some(folder) = self.optional_text(&keys::WORKDIR) {
            return folder.into();
        }
        let Some((folder, variable)) = env.default_workdir() else {
            self.problem(
                &keys::WORKDIR,
                "must be set: none of $STATE_DIRECTORY, $XDG_DATA_HOME and $HOME is set",
            );
            return PathBuf::new();
        };
        let value = Value::Text(folder.to_string_lossy().into_owned());
        self.set_computed(&keys::WORKDIR, value, variable);
        folder
    }

    fn queue(&mut self) -> String {
        let queue = self.text(&keys::QUEUE);
        if queue == PLATYPUSH_QUEUE {
            self.problem(
                &keys::QUEUE,
                "must not be the list from which Platypush itself takes its messages",
            );
        }
        queue
    }

    /// Checks the prefix: the client chooses the id after it, and no id may make it a node's own
    /// queue or a list that contains requests.
    fn reply_prefix(&mut self) -> String {
        let prefix = self.text(&keys::REPLY_PREFIX);
        let queue = self.text(&keys::QUEUE);
        if queue.starts_with(&prefix) || prefix.starts_with(&format!("{queue}:")) {
            self.conflict(
                &keys::REPLY_PREFIX,
                &keys::QUEUE,
                "a reply could be added to the requests; neither may begin with the other",
            );
        }
        if PLATYPUSH_QUEUE.starts_with(&prefix) {
            self.problem(
                &keys::REPLY_PREFIX,
                "must not be a prefix of Platypush's own list (platypush/backend/redis): a node \
                 could take a reply as a message",
            );
        }
        prefix
    }

    fn token_hash(&mut self) -> Option<ClientTokenHash> {
        let text = self.optional_text(&keys::TOKEN_HASH)?;
        let mut hash = [0; 32];
        if hex::decode_to_slice(&text, &mut hash).is_err() {
            self.problem(
                &keys::TOKEN_HASH,
                "must be 64 hexadecimal digits: the token's SHA-256, not the token",
            );
        }
        Some(ClientTokenHash(hash))
    }

    fn password(&mut self, env: &Environment, warnings: &mut Vec<String>) -> Password {
        let memory = self.u32(&keys::PASSWORD_MEMORY_KIB);
        let iterations = self.u32(&keys::PASSWORD_ITERATIONS);
        let parallelism = self.u32(&keys::PASSWORD_PARALLELISM);
        let argon2 = argon2::Params::new(memory, iterations, parallelism, None);
        // With the bounds of the keys, Argon2 can reject only this combination.
        let argon2 = argon2.unwrap_or_else(|_| {
            self.conflict(
                &keys::PASSWORD_MEMORY_KIB,
                &keys::PASSWORD_PARALLELISM,
                "Argon2 needs at least 8 KiB for each lane",
            );
            argon2::Params::DEFAULT
        });
        let password = Password {
            argon2,
            threads: self.threads(env),
            min_length: self.size(&keys::PASSWORD_MIN_LENGTH),
            max_length: self.size(&keys::PASSWORD_MAX_LENGTH),
            blocklist_file: self
                .optional_text(&keys::PASSWORD_BLOCKLIST_FILE)
                .map(Into::into),
        };
        if password.min_length > password.max_length {
            self.conflict(
                &keys::PASSWORD_MIN_LENGTH,
                &keys::PASSWORD_MAX_LENGTH,
                "the minimum exceeds the maximum",
            );
        }
        let reaches = |(m, t): &(u32, u32)| memory >= *m && iterations >= *t;
        if !OWASP_MINIMUM.iter().any(reaches) {
            warnings.push(format!(
                "password.memory_kib {memory} with password.iterations {iterations} is below \
                 OWASP's minimum for Argon2id (19456 with 2, or 47104 with 1): an attacker with a \
                 copy of the database finds passwords sooner"
            ));
        }
        password
    }

    fn threads(&mut self, env: &Environment) -> NonZeroUsize {
        if self.optional_integer(&keys::PASSWORD_THREADS).is_none() {
            let cores = u64::try_from(env.cores.get()).unwrap_or(u64::MAX);
            let value = Value::Integer(cores.min(1024));
            self.set_computed(&keys::PASSWORD_THREADS, value, "processor cores");
        }
        NonZeroUsize::new(self.size(&keys::PASSWORD_THREADS)).unwrap_or(NonZeroUsize::MIN)
    }

    fn log(&mut self) -> Log {
        let level = self.text(&keys::LOG_LEVEL);
        let format = self.text(&keys::LOG_FORMAT);
        Log {
            // `source.rs` accepts only the words of each key.
            level: level.parse().unwrap_or(tracing::Level::INFO),
            format: match format.as_str() {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
        }
    }
}
