//! Converts settings to a [`Config`]: computes defaults, and checks the meaning of values and the
//! rules between keys.

use std::ffi::OsStr;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use serde::de::DeserializeOwned;

use super::keys::{self, Key};
use super::problem::SettingSource;
use super::source::Settings;
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

impl Settings {
    /// Checks the settings, and adds computed values to them. The result is valid only if there is
    /// no problem.
    pub(super) fn check(&mut self, env: &Environment) -> Config {
        let mut warnings = Vec::new();
        Config {
            device_id: self.device_id(env),
            workdir: self.workdir(env),
            redis: self.redis(),
            queue: self.queue(),
            reply_prefix: self.reply_prefix(),
            reply_ttl: self.seconds(&keys::REPLY_TTL),
            accept_any_target: self.required(&keys::ACCEPT_ANY_TARGET),
            token_hash: self.token_hash(),
            max_request_age: self.optional_seconds(&keys::MAX_REQUEST_AGE),
            max_login_wait: self.seconds(&keys::MAX_LOGIN_WAIT),
            max_in_flight: self.required(&keys::MAX_IN_FLIGHT),
            max_message_size: self.required(&keys::MAX_MESSAGE_SIZE),
            max_username_length: self.required(&keys::MAX_USERNAME_LENGTH),
            max_id_length: self.required(&keys::MAX_ID_LENGTH),
            shutdown_timeout: self.seconds(&keys::SHUTDOWN_TIMEOUT),
            write_timeout: self.seconds(&keys::WRITE_TIMEOUT),
            secret_keys_file: self.secret_keys_file(env),
            session: Session {
                limits: SessionLimits {
                    max_lifetime: self.session_limit(&keys::SESSION_MAX_LIFETIME),
                    idle_timeout: self.session_limit(&keys::SESSION_IDLE_TIMEOUT),
                },
                revoke_on_password_change: self.required(&keys::SESSION_REVOKE),
            },
            throttle: Throttle {
                failures: self.required(&keys::THROTTLE_FAILURES),
            },
            password: self.password(env, &mut warnings),
            publish: self.destinations(),
            log: self.log(),
            warnings,
        }
    }

    /// Reports a problem with the value of a key.
    pub(super) fn problem(&mut self, key: &Key, text: impl fmt::Display) {
        let source = self.get(key).source;
        self.report(&source, format!("{} {text}", key.path));
    }

    /// Reports a conflict of two keys, at the one of the higher layer or later line.
    fn conflict(&mut self, a: &Key, b: &Key, text: &str) {
        let (source_a, source_b) = (self.get(a).source, self.get(b).source);
        let (key, other, source) = if source_a >= source_b {
            (a, b, source_b)
        } else {
            (b, a, source_a)
        };
        let other = other.path;
        self.problem(
            key,
            format_args!("conflicts with {other} ({source}): {text}"),
        );
    }

    /// Returns the value of a key, if it has one. `T` must have all values that the key may have.
    pub(super) fn optional<T: DeserializeOwned>(&self, key: &Key) -> Option<T> {
        serde_json::from_value(self.get(key).value).ok()
    }

    /// Returns the value of a key that has a default; a test proves that it has one. `T` must have
    /// all values that the key may have.
    pub(super) fn required<T: DeserializeOwned + Default>(&mut self, key: &Key) -> T {
        self.optional(key).unwrap_or_else(|| {
            self.problem(key, "has no value and no default");
            T::default()
        })
    }

    /// Returns the value of a key, or else the computed one, which it adds with its origin.
    fn or_computed<T: DeserializeOwned + AsRef<OsStr>>(
        &mut self,
        key: &'static Key,
        computed: Option<(T, &'static str)>,
    ) -> Option<T> {
        self.optional(key).or_else(|| {
            let (value, origin) = computed?;
            let text = value.as_ref().to_string_lossy();
            self.put(key, text.into(), SettingSource::Computed(origin));
            Some(value)
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
        Duration::from_secs(self.required(key))
    }

    fn device_id(&mut self, env: &Environment) -> String {
        let host_name = env.host_name.clone().map(|name| (name, "host name"));
        let name = self.or_computed(&keys::DEVICE_ID, host_name);
        name.unwrap_or_else(|| {
            let error = "must be set: this machine has no host name";
            self.problem(&keys::DEVICE_ID, error);
            String::new()
        })
    }

    fn secret_keys_file(&mut self, env: &Environment) -> Option<PathBuf> {
        let credential = env.credential("secret.keys");
        let credential = credential.map(|file| (file, "$CREDENTIALS_DIRECTORY"));
        self.or_computed(&keys::SECRET_KEYS_FILE, credential)
    }

    fn workdir(&mut self, env: &Environment) -> PathBuf {
        let folder = self.or_computed(&keys::WORKDIR, env.default_workdir());
        folder.unwrap_or_else(|| {
            self.problem(
                &keys::WORKDIR,
                "must be set: none of $STATE_DIRECTORY, $XDG_DATA_HOME and $HOME is set",
            );
            PathBuf::new()
        })
    }

    fn queue(&mut self) -> String {
        let queue: String = self.required(&keys::QUEUE);
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
        let prefix: String = self.required(&keys::REPLY_PREFIX);
        let queue: String = self.required(&keys::QUEUE);
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
        let text: String = self.optional(&keys::TOKEN_HASH)?;
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
        let memory = self.required(&keys::PASSWORD_MEMORY_KIB);
        let iterations = self.required(&keys::PASSWORD_ITERATIONS);
        let parallelism = self.required(&keys::PASSWORD_PARALLELISM);
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
            min_length: self.required(&keys::PASSWORD_MIN_LENGTH),
            max_length: self.required(&keys::PASSWORD_MAX_LENGTH),
            blocklist_file: self.optional(&keys::PASSWORD_BLOCKLIST_FILE),
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
        let threads = self.optional(&keys::PASSWORD_THREADS);
        threads.unwrap_or_else(|| {
            let cores = env.cores.get().min(1024);
            let source = SettingSource::Computed("processor cores");
            self.put(&keys::PASSWORD_THREADS, cores.into(), source);
            NonZeroUsize::new(cores).unwrap_or(NonZeroUsize::MIN)
        })
    }

    fn log(&mut self) -> Log {
        let level: String = self.required(&keys::LOG_LEVEL);
        let format: String = self.required(&keys::LOG_FORMAT);
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
