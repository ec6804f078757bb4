//! The `Debug` output of all types that can hold a secret: it appears in logs and panics.

use std::fmt::Debug;
use std::sync::Arc;

use platypush_userd::actions::{Password, Secret};
use platypush_userd::admin::AdminCommand;
use platypush_userd::clock::SystemClock;
use platypush_userd::config::{self, Environment};
use platypush_userd::credentials::{LastCheck, TotpSecret, Verdict, new_session_token, token_hash};
use platypush_userd::model::{
    ApiToken, ApiTokenRecord, CodeHash, ImportedCode, PasswordRecord, Sealed, SecondFactor,
    SecretFingerprint, TokenHash, User,
};
use platypush_userd::queue::{Disposition, Finished, Reply};
use platypush_userd::store::sled::SledStore;
use platypush_userd::store::{Precondition, StoreError};
use platypush_userd::value::Value;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use super::scan::Secrets;
use crate::store_changes::{Changes as _, NewSession, NewUser};
use crate::store_conformance::bench::{at, new_session, new_user, proof, wait};
use crate::support::credentials;

const SECRET: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn secret_user() -> User {
    let record = PasswordRecord::new(SECRET.into());
    User {
        second_factor: Some(SecondFactor {
            secret: Sealed(SECRET.into()),
            fingerprint: SecretFingerprint::UNKNOWN,
            last_step: 0,
            backup_codes: vec![CodeHash(hash().0)],
            imported_codes: vec![ImportedCode {
                record: record.clone(),
                expires_at: None,
            }],
        }),
        api_tokens: vec![
            api_token(ApiTokenRecord::Hash(hash())),
            api_token(ApiTokenRecord::Imported(record.clone())),
        ],
        ..User::new(1, "alice".into(), at(0), record)
    }
}

fn api_token(record: ApiTokenRecord) -> ApiToken {
    ApiToken {
        id: 1,
        name: "backup".into(),
        created_at: at(0),
        expires_at: None,
        record,
    }
}

fn hash() -> TokenHash {
    TokenHash(hex::decode(SECRET).unwrap().try_into().unwrap())
}

/// Returns the verdict for a user whose password is [`SECRET`].
fn verified() -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SledStore::open(folder.path()).unwrap());
    wait(async {
        let clock = Arc::new(SystemClock);
        let credentials = credentials(folder.path(), store.clone(), clock).await;
        let mut alice = new_user("alice");
        alice.password = credentials.hash(&SECRET.into()).await.unwrap();
        let made = store.create_user(alice, Precondition::NoUsers, None).await;
        made.unwrap();
        let verdict = credentials
            .verify("alice", &SECRET.into(), None, &LastCheck::default())
            .await;
        let verdict = verdict.unwrap();
        assert!(matches!(verdict, Verdict::Verified(_)), "{verdict:?}");
        verdict
    })
}

fn text() -> Value<'static> {
    Value::Text(SECRET.into())
}

#[test]
fn debug_output_contains_no_secret() {
    let session = NewSession {
        token: hash(),
        ..new_session(0, None)
    };
    let verified = verified();
    let reply = || Reply::new("r1", SECRET.into());
    let finished = Finished {
        left_outcome: false,
        held: None,
        reply: Some(reply()),
        dead_letter: None,
    };
    let environment = Environment::empty()
        .with("PLATYPUSH_USERD_TOKEN_HASH", SECRET)
        .with("PLATYPUSH_USERD_WORKDIR", "/nowhere")
        .with(
            "PLATYPUSH_USERD_REDIS__URL",
            format!("redis://a:{SECRET}@h/0"),
        );
    let loaded = config::load(None, &environment).map_err(|e| e.to_string());
    let loaded = loaded.unwrap();

    let values: [(&str, &dyn Debug); 23] = [
        ("PasswordRecord", &PasswordRecord::new(SECRET.into())),
        ("TotpSecret", &TotpSecret::new(SECRET.into())),
        ("Sealed", &Sealed(SECRET.into())),
        ("CodeHash", &CodeHash(hash().0)),
        ("TokenHash", &hash()),
        ("User", &secret_user()),
        (
            "NewUser",
            &NewUser {
                username: "alice".into(),
                created_at: at(0),
                password: PasswordRecord::new(SECRET.into()),
            },
        ),
        ("NewSession", &session),
        ("PasswordPrecondition", &proof(&secret_user())),
        (
            "Precondition::Password",
            &Precondition::Password(proof(&secret_user())),
        ),
        ("Precondition::Session", &Precondition::Session(hash())),
        ("StoreError", &StoreError::Conflict),
        ("Verdict", &verified),
        ("Password", &Password(SECRET.into())),
        ("Secret", &Secret(SECRET.into())),
        ("Value", &text()),
        ("Value in a list", &Value::List(vec![text()])),
        ("Value in a dict", &Value::Dict(vec![(text(), text())])),
        ("Reply", &reply()),
        ("Disposition", &Disposition::Finished(finished)),
        (
            "AdminCommand",
            &AdminCommand::ResetPassword {
                name: "alice".into(),
                password: SECRET.into(),
                keep_api_tokens: false,
            },
        ),
        ("Config", &loaded.config),
        ("Loaded", &loaded),
    ];
    let mut secrets = Secrets::default();
    secrets.add_password("the password", SECRET);
    if let Verdict::Verified(verified) = &verified {
        let record = verified.user.password.expose();
        secrets.add("the password record", record.as_bytes());
    }
    for (name, value) in values {
        for shown in [format!("{value:?}"), format!("{value:#?}")] {
            assert_eq!(
                secrets.found_in(shown.as_bytes()),
                [""; 0],
                "{name}: {shown}"
            );
        }
    }
}

#[test]
fn debug_output_of_a_session_token_contains_neither_token_nor_hash() {
    let token = new_session_token().unwrap();
    let mut secrets = Secrets::default();
    secrets.add_password("the token", token.expose_secret());
    let shown = format!("{token:?} {:?} {token:#?}", token_hash(&token));
    assert_eq!(secrets.found_in(shown.as_bytes()), [""; 0], "{shown}");
    let digest = Sha256::digest(token.expose_secret());
    assert_eq!(token_hash(&token).0[..], digest[..]);
}
