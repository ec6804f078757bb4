//! Databases of older and newer versions of this program, and of other programs.

use std::path::Path;

use platypush_userd::model::TokenHash;
use platypush_userd::store::sled::OpenError;
use platypush_userd::store::{Store, StoreError};

use super::{copy_folder, database_of, open, wait_until_closed};
use crate::store_conformance::bench::wait;
use crate::support::change_database;

/// Writes directly to a closed database, without the store.
fn write(workdir: &Path, key: &[u8], value: &[u8]) {
    wait_until_closed(workdir);
    change_database(workdir, |database| {
        database.insert(key, value).unwrap();
    });
}

#[test]
fn another_schema_version_is_refused_and_not_changed() {
    let folder = database_of(&["alice"]);
    for schema in [6_u32, 4, 1] {
        write(folder.path(), b"m:schema", &schema.to_be_bytes());
        for _ in 0..2 {
            let refused = open(folder.path()).err();
            let is_expected = match refused {
                Some(OpenError::NewerSchema { found, known: 5 }) => found == schema && found > 5,
                Some(OpenError::OlderSchema {
                    found, known: 5, ..
                }) => found == schema && found < 5,
                _ => false,
            };
            assert!(is_expected, "{schema}");
        }
    }
    write(folder.path(), b"m:schema", &5_u32.to_be_bytes());
    let store = open(folder.path()).unwrap();
    assert!(wait(store.user_by_name("alice")).unwrap().is_some());
}

/// The database in `tests/data/store-v1` comes from version 0.1.
#[test]
fn a_stored_database_of_schema_1_is_refused() {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/store-v1");
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&stored, folder.path());
    let error = open(folder.path()).err().unwrap();
    let advice = "export with the version that wrote it, then import here";
    assert!(error.to_string().ends_with(advice), "{error}");
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
fn a_foreign_database_is_refused_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), b"foreign", b"precious");
    for _ in 0..2 {
        match open(folder.path()).err() {
            Some(OpenError::Engine { reason, .. }) => {
                assert_eq!(reason, "it holds something else");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// An unreadable record is an engine error, and the error quotes none of its data.
#[test]
fn an_unreadable_record_is_an_error_that_does_not_quote_it() {
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
