//! Databases that others wrote: this program at its first schema, a newer
//! one, somebody else's.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use platypush_userd::clock::Timestamp;
use platypush_userd::model::{
    Attempted, CodeUse, Failures, PasswordRecord, Profile, Sealed, SecondFactor, Session,
    TokenHash, User,
};
use platypush_userd::store::sled::OpenError;
use platypush_userd::store::{
    NewSession, NewUser, PasswordPrecondition, Precondition, Store, StoreError,
};

use super::{copy_folder, database_of, open, wait_until_closed};
use crate::store_conformance::bench::{at, at_once, new_session, proof, rules, token, wait};

/// A database as version 0.1 wrote it (schema 1): [`make_stored`].
fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/store-v1")
}

fn user(id: u64, username: &str, minute: i64) -> User {
    User::new(
        id,
        username.into(),
        at(1_795_521_600_123_457 + minute * 60_000_000),
        PasswordRecord::new(format!(
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ{id}$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
        )),
    )
}

fn alice() -> User {
    User {
        generation: 1,
        second_factor: Some(SecondFactor {
            secret: Sealed((236..=255).collect()),
            fingerprint: None,
            last_step: 59_850_720,
            backup_codes: Vec::new(),
            imported_codes: Vec::new(),
        }),
        ..user(1, "alice", 0)
    }
}

fn zoe() -> User {
    user(3, "Zoë \u{1f98e}\0\"", 2)
}

fn session(byte: u8, user: &User, expires_at: Option<Timestamp>) -> Session {
    Session {
        token: TokenHash([byte; 32]),
        user_id: user.id,
        generation: user.generation,
        created_at: at(1_795_521_999_000_001),
        expires_at,
        used_at: at(1_795_521_999_000_001),
    }
}

fn sessions() -> [(Session, User); 2] {
    [
        (
            session(1, &alice(), Some(at(4_102_444_799_999_999))),
            alice(),
        ),
        (session(2, &zoe(), None), zoe()),
    ]
}

#[test]
fn a_database_of_schema_1_is_read_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&stored(), folder.path());
    let store = open(folder.path()).unwrap();
    assert_eq!(wait(store.users()).unwrap(), [alice(), zoe()]);
    for expected in sessions() {
        let user = wait(store.user_by_name(&expected.1.username)).unwrap();
        assert_eq!(user.as_ref(), Some(&expected.1));
        let of_user = wait(store.sessions_of(expected.1.id, expected.1.generation)).unwrap();
        assert_eq!(of_user, std::slice::from_ref(&expected.0), "migrated");
        let found = wait(store.session(&expected.0.token)).unwrap();
        assert_eq!(found, Some((expected.0, expected.1.into())));
    }
    // One of a deleted user, one that was revoked; both still stand there.
    let sweep = store.sweep_sessions(None, 10, rules(at(1_795_522_000_000_000)));
    assert_eq!(wait(sweep).unwrap().removed, 2);
    assert_eq!(wait(store.user_by_name("bob")).unwrap(), None);

    let new = NewUser {
        username: "dora".into(),
        created_at: at(0),
        password: PasswordRecord::new("x".into()),
    };
    let precondition = Precondition::Password(proof(&alice()));
    let dora = wait(store.create_user(new, precondition, None)).unwrap();
    assert_eq!(dora.id, 4, "2 had been given to bob");

    // What came with later versions is kept beside what was there.
    let noted = store.note_failure(Attempted::User(zoe().id), at(7), None);
    wait(noted).unwrap();
    store.touch_session(
        &TokenHash([2; 32]),
        at(1_795_522_000_000_000),
        TimeDelta::zero(),
    );
    drop(store);
    let store = open(folder.path()).unwrap();
    let (session, user) = wait(store.session(&TokenHash([2; 32]))).unwrap().unwrap();
    let [_, (mut expected, _)] = sessions();
    expected.used_at = at(1_795_522_000_000_000);
    assert_eq!(session, expected);
    let failures = Failures::default().and_one(at(7));
    let zoe = User { failures, ..zoe() };
    assert_eq!(user, Profile::from(zoe.clone()));
    assert_eq!(wait(store.user_by_name(&zoe.username)).unwrap(), Some(zoe));
}

/// Whatever a migration that was cut short has done already.
#[test]
fn all_sessions_of_a_large_database_of_schema_1_are_listed() {
    const SESSIONS: u64 = 600;
    let folder = database_of(&["alice"]);
    let store = open(folder.path()).unwrap();
    let alice = wait(store.user_by_name("alice")).unwrap().unwrap();
    at_once(8, async |thread| {
        for number in (thread as u64..SESSIONS).step_by(8) {
            let made = store.create_session(new_session(number, None), proof(&alice), None);
            made.await.unwrap();
        }
    });
    drop(store);
    for left in [0, 1, 255, SESSIONS as usize] {
        change(folder.path(), |database| {
            let listed: Vec<_> = database.scan_prefix("x:").keys().skip(left).collect();
            for key in listed {
                database.remove(key.unwrap()).unwrap();
            }
            database.insert("m:schema", &1_u32.to_be_bytes()).unwrap();
        });
        let store = open(folder.path()).unwrap();
        let mut listed = wait(store.sessions_of(alice.id, alice.generation)).unwrap();
        listed.sort_by_key(|session| session.token);
        let mut tokens: Vec<_> = (0..SESSIONS).map(token).collect();
        tokens.sort_unstable();
        assert!(listed.iter().map(|session| session.token).eq(tokens));
    }
}

/// Made `tests/data/store-v1`. It is not to be made again: what counts is
/// that it is old. A new schema gets a folder of its own.
#[test]
#[ignore = "writes the stored database, once for each schema"]
fn make_stored() {
    let folder = stored();
    assert!(!folder.exists(), "a stored database is never replaced");
    fs::create_dir_all(&folder).unwrap();
    let store = open(&folder).unwrap();
    let create = |user: &User, precondition| {
        let new = NewUser {
            username: user.username.clone(),
            created_at: user.created_at,
            password: user.password.clone(),
        };
        assert_eq!(
            wait(store.create_user(new, precondition, None)).unwrap().id,
            user.id
        );
    };
    let log_in = |session: &Session, precondition| {
        let new = NewSession {
            token: session.token,
            created_at: session.created_at,
            expires_at: session.expires_at,
        };
        let made = wait(store.create_session(new, precondition, None))
            .unwrap()
            .0;
        assert_eq!(made, *session);
    };
    let plain = user(1, "alice", 0);
    create(&plain, Precondition::NoUsers);
    let bob = user(2, "bob", 1);
    create(&bob, Precondition::Password(proof(&plain)));
    create(&zoe(), Precondition::Password(proof(&plain)));
    log_in(&session(3, &bob, None), proof(&bob));
    log_in(&session(4, &plain, None), proof(&plain));
    let same = plain.password.clone();
    let revoked = wait(store.set_password(proof(&plain), same, true, None)).unwrap();
    wait(store.delete_user("bob", Precondition::Password(proof(&revoked)), None)).unwrap();
    log_in(&session(2, &zoe(), None), proof(&zoe()));
    let mut factor = alice().second_factor.unwrap();
    let step = factor.last_step;
    factor.last_step -= 1;
    wait(store.set_second_factor(proof(&revoked), Some(factor), None)).unwrap();
    let precondition = PasswordPrecondition {
        code: Some(CodeUse::Step(step)),
        ..proof(&revoked)
    };
    log_in(&sessions()[0].0, precondition);
}

/// Writes to a closed database behind the program's back.
fn write(workdir: &Path, key: &[u8], value: &[u8]) {
    change(workdir, |database| {
        database.insert(key, value).unwrap();
    });
}

/// Changes a closed database behind the program's back.
fn change(workdir: &Path, change: impl FnOnce(&sled::Db)) {
    wait_until_closed(workdir);
    let config = sled::Config::new()
        .path(workdir.join("db"))
        .segment_size(4 << 20);
    let db = config.open().unwrap();
    change(&db);
    db.flush().unwrap();
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let folder = database_of(&["alice"]);
    write(folder.path(), b"m:schema", &5_u32.to_be_bytes());
    for _ in 0..2 {
        assert!(matches!(
            open(folder.path()).err(),
            Some(OpenError::NewerSchema { found: 5, known: 4 })
        ));
    }
}

#[test]
fn a_database_of_schema_2_or_3_is_read_and_from_then_on_of_schema_4() {
    for schema in [2_u32, 3] {
        is_read_and_from_then_on_of_schema_4(schema);
    }
}

fn is_read_and_from_then_on_of_schema_4(schema: u32) {
    let folder = database_of(&["alice"]);
    write(folder.path(), b"m:schema", &schema.to_be_bytes());
    let store = open(folder.path()).unwrap();
    assert!(wait(store.user_by_name("alice")).unwrap().is_some());
    drop(store);
    change(folder.path(), |database| {
        let schema = database.get("m:schema").unwrap().unwrap();
        assert_eq!(*schema, 4_u32.to_be_bytes());
    });
}

#[test]
fn an_unreadable_schema_is_refused() {
    let folder = database_of(&["alice"]);
    write(folder.path(), b"m:schema", b"1");
    assert!(matches!(
        open(folder.path()).err(),
        Some(OpenError::Engine { .. })
    ));
}

#[test]
fn the_database_of_somebody_else_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), b"theirs", b"precious");
    for _ in 0..2 {
        match open(folder.path()).err() {
            Some(OpenError::Engine { reason, .. }) => {
                assert_eq!(reason, "it holds something else");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A record that cannot be read is an error of the engine, and the error
/// quotes nothing of it.
#[test]
fn an_unreadable_record_is_an_error_that_does_not_show_it() {
    let user_1 = [b"u:".as_slice(), &1_u64.to_be_bytes()].concat();
    let session = [b"s:".as_slice(), &[7; 32]].concat();
    let records: [(&[u8], &[u8]); 6] = [
        (&user_1, b"\x02{\"password\": \"hunter2\"}"),
        (&user_1, b"\x01{\"password\": \"hunter2\"}"),
        (&user_1, b"\x01\"hunter2\""),
        (&user_1, b""),
        (b"n:alice", b"hunter2"),
        (&session, b"\x01{\"user_id\": \"hunter2\"}"),
    ];
    for (key, record) in records {
        let folder = database_of(&["alice"]);
        write(folder.path(), key, record);
        let store = open(folder.path()).unwrap();
        let errors: Vec<_> = wait(async {
            let by_name = store.user_by_name("alice").await.err();
            let session = store.session(&TokenHash([7; 32])).await.err();
            by_name.into_iter().chain(session).collect()
        });
        assert!(!errors.is_empty());
        for error in errors {
            assert!(matches!(error, StoreError::Engine(_)), "{error:?}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
