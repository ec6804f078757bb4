//! Folders and files of all kinds, and nodes that run meanwhile.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use proptest::prelude::*;

use super::*;
use crate::transfer::platypush::database::Database;
use crate::transfer::platypush::rows::USERS;

/// All that lies in a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    files
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// A folder whose `main.db` holds those bytes.
fn folder(database: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("main.db"), database).unwrap();
    folder
}

#[test]
fn where_no_database_is_it_says_what_was_looked_for() {
    let empty = tempfile::tempdir().unwrap();
    let is_a_file = sample("workdir/main.db");
    for path in [empty.path(), &empty.path().join("missing"), &is_a_file] {
        let error = read_at(path).unwrap_err();
        assert!(matches!(error, ReadError::NoDatabase(_)), "{error}");
        let said = error.to_string();
        assert!(
            said.contains("no main.db in ") && said.contains(path.to_str().unwrap()),
            "{said}"
        );
    }
    fs::create_dir(empty.path().join("main.db")).unwrap();
    let error = read_at(empty.path()).unwrap_err();
    assert!(matches!(error, ReadError::Unreadable { .. }), "{error}");
}

#[test]
fn what_is_no_database_is_said_so() {
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
fn a_database_of_something_else_is_said_so() {
    let node = Node::with("CREATE TABLE users (id, name)");
    assert!(matches!(node.try_read(), Err(ReadError::NoUsers(_))));
    // A file that SQLite made and never wrote to is empty.
    assert!(matches!(
        Node::with("").try_read(),
        Err(ReadError::NotADatabase(_))
    ));
}

#[test]
fn tables_of_another_make_are_refused_before_they_run_anything() {
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
            "its rows have no numbers",
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
fn columns_and_tables_that_came_later_may_be_missing() {
    let node = Node::with("CREATE TABLE User (USER_ID, Username, password)");
    node.sql("INSERT INTO user VALUES (1, 'alice', ?1)", &[&BCRYPT]);
    let found = node.read();
    assert!(is_right("secret", &user(&found, "alice").password));
    assert_eq!(user(&found, "alice").created_at, now());
}

#[test]
fn a_folder_may_be_called_anything() {
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
        assert_eq!(read_at(&path).unwrap().newcomers.len(), 1, "{path:?}");
    }
}

#[test]
fn a_running_node_is_read_as_it_stands_and_left_alone() {
    for mode in ["delete", "truncate", "wal"] {
        let node = Node::new();
        let set = format!("PRAGMA journal_mode = {mode}");
        node.database.query_row(&set, [], |_| Ok(())).unwrap();
        node.user(1, "alice");
        // What is not committed is not there.
        node.sql("BEGIN IMMEDIATE", &[]).user(2, "bob");
        let before = files(node.path());
        let found = node.read();
        assert_eq!(found.newcomers.len(), 1, "{mode}");
        let after = files(node.path());
        assert!(before.keys().eq(after.keys()), "{mode}");
        for (path, bytes) in before {
            // The index of the -wal file also says who reads.
            assert!(
                path.ends_with("main.db-shm") || after[&path] == bytes,
                "{path:?}"
            );
        }
        node.sql("COMMIT", &[]);
        assert_eq!(node.read().newcomers.len(), 2, "{mode}");
    }
}

#[test]
fn all_tables_are_read_as_they_stood_at_one_moment() {
    let node = Node::new();
    let set = "PRAGMA journal_mode = wal";
    node.database.query_row(set, [], |_| Ok(())).unwrap();
    node.user(1, "alice");
    let mut database = Database::open(node.path()).unwrap();
    node.user(2, "bob");
    assert_eq!(database.rows(&USERS).unwrap().unwrap().len(), 1);
    assert_eq!(node.read().newcomers.len(), 2);
}

#[test]
fn a_node_that_is_stopped_is_read_without_writing_beside_it() {
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
        assert_eq!(read_at(directory.path()).unwrap().newcomers.len(), 1);
        assert_eq!(files(directory.path()), before, "{mode}");
    }
}

/// A node that was killed, in a copy.
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
fn what_a_killed_node_had_committed_is_read_from_its_wal_file() {
    let node = Node::new();
    node.database
        .query_row("PRAGMA journal_mode = wal", [], |_| Ok(()))
        .unwrap();
    node.user(1, "alice");
    let copy = killed(&node);
    let before = files(copy.path());
    assert_eq!(before.len(), 2);
    assert_eq!(read_at(copy.path()).unwrap().newcomers.len(), 1);
    for (path, bytes) in before {
        assert!(files(copy.path())[&path] == bytes, "{path:?}");
    }
}

#[test]
fn what_a_killed_node_had_half_written_is_not_read() {
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
fn a_node_that_writes_all_the_time_is_locked() {
    let node = Node::new();
    node.sql("BEGIN EXCLUSIVE", &[]);
    let error = node.try_read().unwrap_err();
    assert!(matches!(error, ReadError::Locked(_)), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is damaged, it is an error, or somebody who was there.
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
            prop_assert!(found.newcomers.len() <= 1);
        }
    }
}
