//! Test environment: a real store in a temporary folder, and the services that the daemon builds on
//! it with its default configuration.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::store_changes::{Changes as _, NewSession, NewUser};
use futures_util::FutureExt as _;
use futures_util::future::try_join_all;
use platypush_userd::actions::ACTIONS;
use platypush_userd::clock::{Clock as _, SystemClock};
use platypush_userd::config::{self, Config, Environment};
use platypush_userd::credentials::{
    Credentials, Hasher, Throttle, Vault, new_session_token, token_hash,
};
use platypush_userd::dispatch::{Dispatcher, Policy, Turns};
use platypush_userd::keyring::Keyring;
use platypush_userd::model::{PasswordRecord, SessionLimits, User};
use platypush_userd::queue::CrashJournal;
use platypush_userd::services::{Limits, Services};
use platypush_userd::store::sled::SledStore;
use platypush_userd::store::{PasswordPrecondition, Precondition, Store};
use platypush_userd::wire::request::MessageLimits;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Number of users in the store. All except the first have one session.
const USERS: u64 = 1_000;
/// Number of concurrent operations while the store is filled.
const IN_FLIGHT: usize = 128;

/// A filled store and the services on it.
pub struct Stage {
    /// Single-threaded, as in the daemon.
    pub runtime: Runtime,
    pub config: Config,
    pub store: Arc<SledStore>,
    pub services: Arc<Services>,
    /// The first user.
    pub user: User,
    keyring: Arc<Keyring>,
    // The last field, so that the folder is removed after all files in it are closed.
    folder: TempDir,
}

/// Returns the default configuration.
pub fn default_config() -> Config {
    let environment = Environment::empty().with("HOME", "/");
    config::load(None, &environment).unwrap().config
}

pub fn message_limits(config: &Config) -> MessageLimits {
    MessageLimits {
        max_message_size: config.max_message_size,
        max_id_length: config.max_id_length,
    }
}

/// Returns the name of a user.
pub fn username(number: u64) -> String {
    format!("user-{number}")
}

/// Returns the password of every user.
pub fn password() -> SecretString {
    "correct horse battery staple".into()
}

/// Returns the result of a future that is ready at once, without the overhead of a runtime.
pub fn without_waiting<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("a future that is ready at once")
}

impl Stage {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        // In the build folder, because /tmp may be a tmpfs, where `fdatasync` costs nothing.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let config = default_config();
        let store = Arc::new(SledStore::open(folder.path()).unwrap());
        let keyring = Keyring::open(Keyring::default_path(folder.path()), true).unwrap();
        let keyring = Arc::new(keyring);
        let services = Arc::new(services(&config, &store, &keyring));
        let user = runtime.block_on(async {
            let record = services.credentials.hash(&password()).await.unwrap();
            let first = store.create_user(new_user(1, &record), Precondition::NoUsers, None);
            first.await.unwrap()
        });
        let stage = Self {
            runtime,
            config,
            store,
            services,
            user,
            keyring,
            folder,
        };
        stage.fill();
        stage
    }

    fn fill(&self) {
        let numbers: Vec<_> = (2..=USERS).collect();
        for numbers in numbers.chunks(IN_FLIGHT) {
            let users = numbers.iter().map(|number| {
                let user = new_user(*number, &self.user.password);
                self.store
                    .create_user(user, Precondition::Password(self.precondition()), None)
            });
            let users = self.runtime.block_on(try_join_all(users)).unwrap();
            let sessions = users.iter().map(|user| {
                let session = new_session(&new_session_token().unwrap());
                self.store.create_session(session, precondition(user), None)
            });
            self.runtime.block_on(try_join_all(sessions)).unwrap();
        }
    }

    /// Returns the precondition that a check of the first user's password gives.
    pub fn precondition(&self) -> PasswordPrecondition {
        precondition(&self.user)
    }

    /// Creates sessions of the first user. They were never looked up, so none of them is in the
    /// store's cache.
    pub fn sessions(&self, count: usize) -> Vec<SecretString> {
        let tokens: Vec<_> = (0..count).map(|_| new_session_token().unwrap()).collect();
        for tokens in tokens.chunks(IN_FLIGHT) {
            let sessions = tokens.iter().map(|token| {
                self.store
                    .create_session(new_session(token), self.precondition(), None)
            });
            self.runtime.block_on(try_join_all(sessions)).unwrap();
        }
        tokens
    }

    /// Creates a session and looks it up, so that it is in the store's cache.
    pub fn known_session(&self) -> SecretString {
        let token = self.sessions(1).remove(0);
        let found = without_waiting(self.store.session(&token_hash(&token))).unwrap();
        assert!(found.is_some());
        token
    }

    pub fn dispatcher(&self) -> Arc<Dispatcher> {
        let config = &self.config;
        let policy = Policy {
            device_id: config.device_id.clone(),
            accept_any_target: config.accept_any_target,
            token_hash: None,
            max_request_age: config.max_request_age,
            limits: message_limits(config),
        };
        let journal = self.folder.path().join("running");
        let (journal, _) = CrashJournal::open(&journal, Turns::count(1)).unwrap();
        let dispatcher = Dispatcher::new(
            ACTIONS,
            Arc::clone(&self.services),
            policy,
            Turns::new(1, config.max_login_wait, journal),
            Arc::clone(&self.keyring),
            None,
            None,
        );
        Arc::new(self.runtime.block_on(dispatcher).unwrap())
    }
}

fn services(config: &Config, store: &Arc<SledStore>, keyring: &Arc<Keyring>) -> Services {
    let store = Arc::clone(store) as Arc<dyn Store>;
    let hash_key = Vault::new_hash_key(keyring).unwrap();
    let vault = Vault::open(Arc::clone(keyring), &hash_key).unwrap();
    let (clock, password) = (Arc::new(SystemClock), &config.password);
    let credentials = Credentials::new(
        Arc::clone(&store),
        Hasher::start(password.argon2.clone(), NonZeroUsize::MIN).unwrap(),
        vault,
        Throttle::new(config.throttle.failures),
        clock.clone(),
        SessionLimits::default(),
    );
    Services {
        store,
        credentials: credentials.unwrap(),
        clock,
        issuer: "platypush".into(),
        revoke_on_password_change: config.session.revoke_on_password_change,
        limits: Limits {
            max_username_length: config.max_username_length,
            min_password_length: password.min_length,
            max_password_length: password.max_length,
            blocklist: None,
        },
    }
}

fn new_user(number: u64, record: &PasswordRecord) -> NewUser {
    NewUser {
        username: username(number),
        created_at: SystemClock.now(),
        password: record.clone(),
    }
}

/// Returns a session without an expiry.
pub fn new_session(token: &SecretString) -> NewSession {
    NewSession {
        token: token_hash(token),
        created_at: SystemClock.now(),
        expires_at: None,
    }
}

fn precondition(user: &User) -> PasswordPrecondition {
    PasswordPrecondition {
        user_id: user.id,
        record: user.password.clone(),
        generation: user.generation,
        code: None,
    }
}
