//! Opens databases: unusual folders and files, running and killed nodes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use proptest::prelude::*;

use super::*;
use crate::transfer::platypush::database::Database;
use crate::transfer::platypush::rows::USERS;

/// Returns all files of a folder with their contents.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    files
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// Creates a folder with a `main.db` of these bytes.
fn folder(database: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("main.db"), database).unwrap();
    folder
}

#[test]
fn a_missing_database_is_named_in_the_error() {
    let empty = tempfile::tempdir().unwrap();
    let is_a_file = sample("workdir/main.db");
    for path in [empty.path(), &empty.path().join("missing"), &is_a_file] {
        let error = read_at(path).unwrap_err();
        assert!(matches!(error, ReadError::NoDatabase(_)), "{error}");
        let message = error.to_string();
        assert!(
            message.contains("no main.db in ") && message.contains(path.to_str().unwrap()),
            "{message}"
        );
    }
    fs::create_dir(empty.path().join("main.db")).unwrap();
    let error = read_at(empty.path()).unwrap_err();
    assert!(matches!(error, ReadError::Unreadable { .. }), "{error}");
}

#[test]
fn a_file_that_is_not_a_database_is_an_error() {
    let database = fs::read(sample("workdir/main.db")).unwrap();
    for bytes in [
        b"".as_slice(),
        b"not a database\n",
        &database[1..],
        &database[..15],
    ] {
        let folder = folder(bytes);
        let error = read_at(folder.path()).unwrap_err();
        assert!(matches!(error, ReadError::NotADatabase(_)), "{error}");
        assert_eq!(files(folder.path()).len(), 1);
    }
}

#[test]
fn a_truncated_database_is_damaged() {
    let database = fs::read(sample("workdir/main.db")).unwrap();
    for length in [16, 99, 4096, 10_000, database.len() / 2, database.len() - 1] {
        let folder = folder(&database[..length]);
        let error = read_at(folder.path()).unwrap_err();
        let is_expected = matches!(
            error,
            ReadError::Damaged { .. } | ReadError::NotADatabase(_)
        );
        assert!(is_expected, "{length}: {error}");
        assert!(
            length < 4096 || matches!(error, ReadError::Damaged { .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn a_database_without_a_user_table_is_an_error() {
    let node = Node::with("CREATE TABLE users (id, name)");
    assert!(matches!(node.try_read(), Err(ReadError::NoUsers(_))));
    // SQLite creates an empty file until the first write.
    assert!(matches!(
        Node::with("").try_read(),
        Err(ReadError::NotADatabase(_))
    ));
}

#[test]
fn tables_with_another_schema_are_rejected_before_they_run_code() {
    let endless = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n FROM n) SELECT n AS user_id, \
                   n AS username, n AS password FROM n";
    for (schema, what) in [
        (format!("CREATE VIEW user AS {endless}"), "it is a view"),
        (
            "CREATE VIRTUAL TABLE user USING fts5(user_id, username, password)".into(),
            "it is a virtual",
        ),
        (
            "CREATE TABLE user (user_id PRIMARY KEY, username, password) WITHOUT ROWID".into(),
            "it has no rowids",
        ),
        (
            "CREATE TABLE user (user_id, username)".into(),
            "it has no column password",
        ),
        (
            "CREATE TABLE user (user_id, username, password AS (username || username))".into(),
            "it has no column password",
        ),
        (
            "CREATE TABLE user (user_id, username, password); CREATE TABLE user_otp (user_id)"
                .into(),
            "it has no column otp_secret",
        ),
    ] {
        match Node::with(&schema).try_read() {
            Err(ReadError::ForeignTable { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{schema}: {other:?}"),
        }
    }
}

#[test]
fn columns_and_tables_of_later_versions_may_be_missing() {
    let node = Node::with("CREATE TABLE User (USER_ID, Username, password)");
    node.sql("INSERT INTO user VALUES (1, 'alice', ?1)", &[&BCRYPT]);
    let found = node.read();
    assert!(is_right("secret", &user(&found, "alice").password));
    assert_eq!(user(&found, "alice").created_at, now());
}

#[test]
fn a_folder_may_have_any_name() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        b"a b?mode=rw&x#y%41".as_slice(),
        "Zoë".as_bytes(),
        b"\xff\xfe",
        b"a//b'\"",
    ] {
        let path = folder.path().join(OsStr::from_bytes(name));
        fs::create_dir_all(&path).unwrap();
        fs::copy(sample("legacy-0.50.3/main.db"), path.join("main.db")).unwrap();
        assert_eq!(read_at(&path).unwrap().users.len(), 1, "{path:?}");
    }
}

#[test]
fn a_running_node_is_read_and_not_changed() {
    for mode in ["delete", "truncate", "wal"] {
        let node = Node::new();
        let set = format!("PRAGMA journal_mode = {mode}");
        node.database.query_row(&set, [], |_| Ok(())).unwrap();
        node.user(1, "alice");
        // An uncommitted user is not read.
        node.sql("BEGIN IMMEDIATE", &[]).user(2, "bob");
        let before = files(node.path());
        let found = node.read();
        assert_eq!(found.users.len(), 1, "{mode}");
        let after = files(node.path());
        assert!(before.keys().eq(after.keys()), "{mode}");
        for (path, bytes) in before {
            // The index of the -wal file also records readers.
            assert!(
                path.ends_with("main.db-shm") || after[&path] == bytes,
                "{path:?}"
            );
        }
        node.sql("COMMIT", &[]);
        assert_eq!(node.read().users.len(), 2, "{mode}");
    }
}

#[test]
fn all_tables_are_read_from_one_snapshot() {
    let node = Node::new();
    let set = "PRAGMA journal_mode = wal";
    node.database.query_row(set, [], |_| Ok(())).unwrap();
    node.user(1, "alice");
    let mut database = Database::open(node.path()).unwrap();
    node.user(2, "bob");
    assert_eq!(database.rows(&USERS).unwrap().unwrap().len(), 1);
    assert_eq!(node.read().users.len(), 2);
}

#[test]
fn reading_a_stopped_node_creates_no_file() {
    for mode in ["delete", "wal"] {
        let node = Node::new();
        let set = format!("PRAGMA journal_mode = {mode}");
        node.database.query_row(&set, [], |_| Ok(())).unwrap();
        node.user(1, "alice");
        let Node {
            directory,
            database,
        } = node;
        database.close().unwrap();
        let before = files(directory.path());
        assert_eq!(before.len(), 1, "{mode}");
        assert_eq!(read_at(directory.path()).unwrap().users.len(), 1);
        assert_eq!(files(directory.path()), before, "{mode}");
    }
}

/// Returns a copy of a node's files, as if the node had been killed.
fn killed(node: &Node) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for (path, bytes) in files(node.path()) {
        if !path.ends_with("main.db-shm") {
            fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
        }
    }
    copy
}

#[test]
fn committed_data_of_a_killed_node_is_read_from_its_wal_file() {
    let node = Node::new();
    node.database
        .query_row("PRAGMA journal_mode = wal", [], |_| Ok(()))
        .unwrap();
    node.user(1, "alice");
    let copy = killed(&node);
    let before = files(copy.path());
    assert_eq!(before.len(), 2);
    assert_eq!(read_at(copy.path()).unwrap().users.len(), 1);
    for (path, bytes) in before {
        assert!(files(copy.path())[&path] == bytes, "{path:?}");
    }
}

#[test]
fn a_database_with_an_unfinished_write_is_not_read() {
    let node = Node::new();
    node.user(1, "alice");
    node.database
        .execute_batch("PRAGMA cache_size = 1; BEGIN")
        .unwrap();
    for id in 10..2_000 {
        node.user(id, &format!("user-{id}"));
    }
    let copy = killed(&node);
    let before = files(copy.path());
    let error = read_at(copy.path()).unwrap_err();
    assert!(matches!(error, ReadError::Unfinished(_)), "{error}");
    assert_eq!(files(copy.path()), before);
}

#[test]
fn a_locked_database_is_an_error() {
    let node = Node::new();
    node.sql("BEGIN EXCLUSIVE", &[]);
    let error = node.try_read().unwrap_err();
    assert!(matches!(error, ReadError::Locked(_)), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The result is an error, or at most the one user of the sample.
    #[test]
    fn a_damaged_database_never_panics(
        at in prop::collection::vec((0usize..53_248, any::<u8>()), 1..20),
        is_in_first_page in any::<bool>(),
    ) {
        let mut bytes = fs::read(sample("legacy-0.50.3/main.db")).unwrap();
        for (at, byte) in at {
            bytes[if is_in_first_page { at % 4096 } else { at }] = byte;
        }
        let folder = folder(&bytes);
        if let Ok(found) = read_at(folder.path()) {
            prop_assert!(found.users.len() <= 1);
        }
    }
}
