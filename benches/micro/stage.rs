//! What the other files measure: a real store in a folder of its own, and on it
//! what the daemon would build with its default configuration.

use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::try_join_all;
use platypush_userd::actions::ACTIONS;
use platypush_userd::clock::{Clock as _, SystemClock};
use platypush_userd::config::{self, Config, Environment};
use platypush_userd::credentials::{
    Argon2Parameters, Credentials, Hasher, SessionToken, Throttle, Vault,
};
use platypush_userd::dispatch::{Dispatcher, Parts, Policy, Turns};
use platypush_userd::keyring::Keyring;
use platypush_userd::model::{PasswordRecord, SessionLimits, User};
use platypush_userd::queue::CrashJournal;
use platypush_userd::services::{Limits, Services};
use platypush_userd::store::sled::SledStore;
use platypush_userd::store::{NewSession, NewUser, PasswordPrecondition, Precondition, Store};
use platypush_userd::wire::request::MessageLimits;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Users in the store, with a session each.
const USERS: u64 = 1_000;
/// Operations on their way at a time while the store is filled.
const AT_ONCE: usize = 128;

/// Users, sessions, and who works on them.
pub struct Stage {
    /// As the daemon's: all that waits does so on one thread.
    pub runtime: Runtime,
    pub config: Config,
    pub store: Arc<SledStore>,
    pub services: Arc<Services>,
    /// The first user.
    pub user: User,
    keyring: Arc<Keyring>,
    // Removed after everything above has let go of it.
    folder: TempDir,
}

/// What holds where nothing is set.
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

/// The name of a user.
pub fn username(number: u64) -> String {
    format!("user-{number}")
}

/// The password of every user.
pub fn password() -> SecretString {
    "correct horse battery staple".into()
}

/// What comes of work that has nothing to wait for, without a runtime's share.
pub fn without_waiting<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("this was not to wait")
}

impl Stage {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        // In the build folder: /tmp may be in memory, where nothing is durable.
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
        for numbers in numbers.chunks(AT_ONCE) {
            let users = numbers.iter().map(|number| {
                let user = new_user(*number, &self.user.password);
                self.store
                    .create_user(user, Precondition::Password(self.precondition()), None)
            });
            let users = self.runtime.block_on(try_join_all(users)).unwrap();
            let sessions = users.iter().map(|user| {
                let session = new_session(&SessionToken::generate().unwrap());
                self.store.create_session(session, precondition(user), None)
            });
            self.runtime.block_on(try_join_all(sessions)).unwrap();
        }
    }

    /// What the right password of the first user proves.
    pub fn precondition(&self) -> PasswordPrecondition {
        precondition(&self.user)
    }

    /// Makes sessions of the first user. Nobody has looked them up, so
    /// none of them is in the store's cache.
    pub fn sessions(&self, count: usize) -> Vec<SessionToken> {
        let tokens: Vec<_> = (0..count)
            .map(|_| SessionToken::generate().unwrap())
            .collect();
        for tokens in tokens.chunks(AT_ONCE) {
            let sessions = tokens.iter().map(|token| {
                self.store
                    .create_session(new_session(token), self.precondition(), None)
            });
            self.runtime.block_on(try_join_all(sessions)).unwrap();
        }
        tokens
    }

    /// Makes one that is in the store's cache.
    pub fn known_session(&self) -> SessionToken {
        let token = self.sessions(1).remove(0);
        let found = without_waiting(self.store.session(&token.hash())).unwrap();
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
        let notes = self.folder.path().join("running");
        let (running, _) = CrashJournal::open(&notes, Turns::count(1)).unwrap();
        let parts = Parts {
            actions: ACTIONS,
            services: Arc::clone(&self.services),
            policy,
            turns: Turns::new(1, config.max_login_wait, running),
            keyring: Arc::clone(&self.keyring),
            events: None,
            unread: None,
        };
        Arc::new(self.runtime.block_on(Dispatcher::new(parts)).unwrap())
    }
}

fn services(config: &Config, store: &Arc<SledStore>, keyring: &Arc<Keyring>) -> Services {
    let store = Arc::clone(store) as Arc<dyn Store>;
    let hash_key = Vault::new_hash_key(keyring).unwrap();
    let vault = Vault::open(Arc::clone(keyring), &hash_key).unwrap();
    let (clock, password) = (Arc::new(SystemClock), &config.password);
    let parameters = Argon2Parameters::new(
        password.memory_kib,
        password.iterations,
        password.parallelism,
    );
    let credentials = Credentials::new(
        Arc::clone(&store),
        Hasher::start(parameters.unwrap(), NonZeroUsize::MIN).unwrap(),
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

/// A session that never ends.
pub fn new_session(token: &SessionToken) -> NewSession {
    NewSession {
        token: token.hash(),
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
