//! From settings to a [`Config`]: computed defaults, and the rules that
//! concern several keys or the meaning of one.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::keys::{self, Key};
use super::problem::{Place, Problem};
use super::source::{Setting, Settings, Value};
use super::{Config, Environment, Log, LogFormat, Password, Session, Throttle};

/// The list a Platypush node takes its own messages from.
const PLATYPUSH_QUEUE: &str = "platypush/backend/redis";

/// Memory (KiB) and iterations of Argon2id that OWASP holds equally good; one
/// of them is to be reached.
const OWASP_MINIMUM: [(u32, u32); 5] = [
    (46 * 1024, 1),
    (19 * 1024, 2),
    (12 * 1024, 3),
    (9 * 1024, 4),
    (7 * 1024, 5),
];

/// Checks the settings, and writes the computed ones into them. The result
/// means something only if no problem was added.
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
            max_lifetime: check.optional_seconds(&keys::SESSION_MAX_LIFETIME),
            idle_timeout: check.optional_seconds(&keys::SESSION_IDLE_TIMEOUT),
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

/// The settings as typed values, and where to put what is wrong with them.
///
/// The defaults have a value for each key that is read by [`integer`],
/// [`boolean`] or [`text`](Self::text); a test shows it.
///
/// [`integer`]: Self::integer
/// [`boolean`]: Self::boolean
pub(super) struct Checker<'a> {
    pub settings: &'a mut Settings,
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    /// Notes that a key's value will not do.
    pub(super) fn problem(&mut self, key: &Key, text: &str) {
        let Setting { place, .. } = self.settings.get(key);
        let text = format!("{} {text}", key.path);
        self.problems.push(Problem::new(&place, text));
    }

    /// Notes that two keys contradict each other, at the one that was set last.
    fn clash(&mut self, a: &Key, b: &Key, text: &str) {
        let (place_a, place_b) = (self.settings.get(a).place, self.settings.get(b).place);
        let (key, other, place) = if place_a >= place_b {
            (a, b, place_b)
        } else {
            (b, a, place_a)
        };
        let text = format!("does not go with {} ({place}): {text}", other.path);
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

    /// Nothing is an empty list.
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

    /// Seconds of which 0 means none.
    fn optional_seconds(&mut self, key: &Key) -> Option<Duration> {
        Some(self.seconds(key)).filter(|duration| !duration.is_zero())
    }

    fn seconds(&mut self, key: &Key) -> Duration {
        Duration::from_secs(self.integer(key))
    }

    // The bounds of the keys lie within those of the types; saturating at the
    // types' bounds only spares an error that cannot happen.

    fn size(&mut self, key: &Key) -> usize {
        self.integer(key).try_into().unwrap_or(usize::MAX)
    }

    fn u32(&mut self, key: &Key) -> u32 {
        self.integer(key).try_into().unwrap_or(u32::MAX)
    }

    fn computed(&mut self, key: &'static Key, value: Value, from: &'static str) {
        self.settings.put(key, Some(value), Place::Computed(from));
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
        self.computed(&keys::DEVICE_ID, value, "host name");
        name
    }

    fn secret_keys_file(&mut self, env: &Environment) -> Option<PathBuf> {
        if let Some(file) = self.optional_text(&keys::SECRET_KEYS_FILE) {
            return Some(file.into());
        }
        let file = env.credential("secret.keys")?;
        let value = Value::Text(file.to_string_lossy().into_owned());
        self.computed(&keys::SECRET_KEYS_FILE, value, "$CREDENTIALS_DIRECTORY");
        Some(file)
    }

    fn workdir(&mut self, env: &Environment) -> PathBuf {
        if let Some(folder) = self.optional_text(&keys::WORKDIR) {
            return folder.into();
        }
        let Some((folder, from)) = env.default_workdir() else {
            self.problem(
                &keys::WORKDIR,
                "must be set: none of $STATE_DIRECTORY, $XDG_DATA_HOME and $HOME is",
            );
            return PathBuf::new();
        };
        let value = Value::Text(folder.to_string_lossy().into_owned());
        self.computed(&keys::WORKDIR, value, from);
        folder
    }

    fn queue(&mut self) -> String {
        let queue = self.text(&keys::QUEUE);
        if queue == PLATYPUSH_QUEUE {
            self.problem(
                &keys::QUEUE,
                "must not be the list Platypush itself takes its messages from",
            );
        }
        queue
    }

    /// The id after the prefix is the requester's choice: no choice of it may
    /// name a list that is somebody's queue or keeps our requests.
    fn reply_prefix(&mut self) -> String {
        let prefix = self.text(&keys::REPLY_PREFIX);
        let queue = self.text(&keys::QUEUE);
        if queue.starts_with(&prefix) || prefix.starts_with(&format!("{queue}:")) {
            self.clash(
                &keys::REPLY_PREFIX,
                &keys::QUEUE,
                "a reply could end up among the requests; neither may begin with the other",
            );
        }
        if PLATYPUSH_QUEUE.starts_with(&prefix) {
            self.problem(
                &keys::REPLY_PREFIX,
                "must not begin the name of Platypush's own list (platypush/backend/redis): \
                 a reply could end up there as a message",
            );
        }
        prefix
    }

    fn token_hash(&mut self) -> Option<SecretString> {
        let hash = self.optional_text(&keys::TOKEN_HASH)?;
        if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.problem(
                &keys::TOKEN_HASH,
                "must be 64 hexadecimal digits: the token's SHA-256, not the token",
            );
        }
        Some(hash.to_ascii_lowercase().into())
    }

    fn password(&mut self, env: &Environment, warnings: &mut Vec<String>) -> Password {
        let password = Password {
            memory_kib: self.u32(&keys::PASSWORD_MEMORY_KIB),
            iterations: self.u32(&keys::PASSWORD_ITERATIONS),
            parallelism: self.u32(&keys::PASSWORD_PARALLELISM),
            threads: self.threads(env),
            min_length: self.size(&keys::PASSWORD_MIN_LENGTH),
            max_length: self.size(&keys::PASSWORD_MAX_LENGTH),
            blocklist_file: self
                .optional_text(&keys::PASSWORD_BLOCKLIST_FILE)
                .map(Into::into),
        };
        let (memory, iterations) = (password.memory_kib, password.iterations);
        // The keys' own bounds leave one thing for Argon2 to object to.
        if argon2::Params::new(memory, iterations, password.parallelism, None).is_err() {
            self.clash(
                &keys::PASSWORD_MEMORY_KIB,
                &keys::PASSWORD_PARALLELISM,
                "Argon2 needs at least 8 KiB for each lane",
            );
        }
        if password.min_length > password.max_length {
            self.clash(
                &keys::PASSWORD_MIN_LENGTH,
                &keys::PASSWORD_MAX_LENGTH,
                "no password could be long enough and short enough",
            );
        }
        let reached = |(m, t): &(u32, u32)| memory >= *m && iterations >= *t;
        if !OWASP_MINIMUM.iter().any(reached) {
            warnings.push(format!(
                "password.memory_kib {memory} with password.iterations {iterations} is below \
                 OWASP's minimum for Argon2id (19456 with 2, or 47104 with 1): \
                 if the database is stolen, passwords are found sooner"
            ));
        }
        password
    }

    fn threads(&mut self, env: &Environment) -> usize {
        if self.optional_integer(&keys::PASSWORD_THREADS).is_none() {
            let cores = u64::try_from(env.cores.get()).unwrap_or(u64::MAX);
            let value = Value::Integer(cores.min(1024));
            self.computed(&keys::PASSWORD_THREADS, value, "processor cores");
        }
        self.size(&keys::PASSWORD_THREADS)
    }

    fn log(&mut self) -> Log {
        let level = self.text(&keys::LOG_LEVEL);
        let format = self.text(&keys::LOG_FORMAT);
        Log {
            // Both are one of their key's words by now.
            level: level.parse().unwrap_or(tracing::Level::INFO),
            format: match format.as_str() {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
        }
    }
}
