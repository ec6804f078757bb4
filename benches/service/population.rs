//! Creates stores with a number of users and one session each.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use crate::store_changes::{Changes as _, NewSession, NewUser};
use argon2::password_hash::phc::Salt;
use argon2::{Argon2, Params};
use futures_util::future::join_all;
use platypush_userd::clock::{Clock as _, SystemClock};
use platypush_userd::model::{PasswordRecord, TokenHash};
use platypush_userd::store::sled::SledStore;
use platypush_userd::store::{PasswordPrecondition, Precondition};
use sha2::{Digest as _, Sha256};

/// The password of every user.
pub const PASSWORD: &str = "bench password";
/// Number of concurrent operations: enough for full groups of the writer.
const IN_FLIGHT: u64 = 512;

pub fn username(number: u64) -> String {
    format!("user-{number:012}")
}

/// Returns a session token: 64 hexadecimal digits, as the daemon generates them.
pub fn token(number: u64) -> String {
    hex::encode(Sha256::digest(format!("token {number}")))
}

fn token_hash(number: u64) -> TokenHash {
    TokenHash(Sha256::digest(token(number)).into())
}

/// Creates a store with `users` users.
pub fn populate(workdir: &Path, users: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        // With the mode that a service manager uses.
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(workdir)
            .unwrap();
        let store = SledStore::open(workdir).unwrap();
        let password = record();
        let now = SystemClock.now();
        let new_user = |number| NewUser {
            username: username(number),
            created_at: now,
            password: password.clone(),
        };
        let first = store
            .create_user(new_user(0), Precondition::NoUsers, None)
            .await
            .unwrap();
        let precondition = |user_id| PasswordPrecondition {
            user_id,
            record: password.clone(),
            generation: 0,
            code: None,
        };
        let new_session = |number| NewSession {
            token: token_hash(number),
            created_at: now,
            expires_at: None,
        };
        store
            .create_session(new_session(0), precondition(first.id), None)
            .await
            .unwrap();
        for from in (1..users).step_by(usize::try_from(IN_FLIGHT).unwrap()) {
            let numbers = from..users.min(from + IN_FLIGHT);
            let (store, new_user, precondition, new_session) =
                (&store, &new_user, &precondition, &new_session);
            join_all(numbers.map(|number| async move {
                let user = store.create_user(
                    new_user(number),
                    Precondition::Password(precondition(first.id)),
                    None,
                );
                let id = user.await.unwrap().id;
                store
                    .create_session(new_session(number), precondition(id), None)
                    .await
                    .unwrap();
            }))
            .await;
        }
    });
}

/// Returns the size of all keys and values of a store, without the overhead of the engine.
pub fn live_bytes(workdir: &Path) -> f64 {
    // Opened as in the daemon. Threads of the closed store may lock the file for a moment.
    let config = sled::Config::new()
        .path(workdir.join("db"))
        .segment_size(4 << 20)
        .flush_every_ms(None);
    let db = loop {
        match config.open() {
            Ok(db) => break db,
            Err(sled::Error::Io(_)) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    let lengths = db.iter().map(|entry| {
        let (key, value) = entry.unwrap();
        key.len() + value.len()
    });
    #[expect(clippy::cast_precision_loss, reason = "some hundred millions")]
    let bytes = lengths.sum::<usize>() as f64;
    bytes
}

/// Returns a record of [`PASSWORD`] at the default cost.
fn record() -> PasswordRecord {
    let params = Params::new(19 * 1024, 2, 1, Some(32)).unwrap();
    let mut hash = [0; 32];
    let salt = [7; 16];
    Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(PASSWORD.as_bytes(), &salt, &mut hash)
        .unwrap();
    let encode = |bytes: &[u8]| {
        argon2::password_hash::phc::Output::new(bytes)
            .unwrap()
            .to_string()
    };
    let _ = Salt::new(&salt).unwrap();
    PasswordRecord::new(format!(
        "$argon2id$v=19$m=19456,t=2,p=1${}${}",
        Salt::new(&salt).unwrap(),
        encode(&hash)
    ))
}
