//! Truncated, replaced and corrupted files. An opening may refuse them, but must not panic or
//! silently lose answered changes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use platypush_userd::store::Store as _;
use platypush_userd::store::sled::{OpenError, SledStore};

use super::{COMMIT_FILE, add_users, copy_folder, database_of, names_in, open, wait_until_closed};
use crate::store_changes::Changes as _;
use crate::store_conformance::bench::{at_once, new_session, proof, token, wait};

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

fn set_commit_file(workdir: &Path, text: &[u8]) {
    fs::write(workdir.join(COMMIT_FILE), text).unwrap();
}

/// Corrupts the data file of a copy of the database, once for each offset, and opens it. Returns
/// the number of refused openings. Asserts that every opened store `is_complete`.
fn refusals(
    database: &Path,
    offsets: impl IntoIterator<Item = u64>,
    corrupt: impl Fn(&File, u64),
    is_complete: impl Fn(&SledStore) -> bool,
) -> usize {
    let mut refused = 0;
    for offset in offsets {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(database, copy.path());
        let data = copy.path().join("db/db");
        let file = File::options().read(true).write(true).open(data).unwrap();
        corrupt(&file, offset);
        match open(copy.path()) {
            Ok(store) => assert!(is_complete(&store), "silent loss, corrupted at {offset}"),
            Err(OpenError::Older { .. } | OpenError::Engine { .. } | OpenError::Missing { .. }) => {
                refused += 1
            }
            Err(other) => panic!("corrupted at {offset}: {other:?}"),
        }
    }
    refused
}

fn size(database: &Path) -> u64 {
    fs::metadata(database.join("db/db")).unwrap().len()
}

fn truncate(file: &File, length: u64) {
    file.set_len(length).unwrap();
}

fn flip(file: &File, offset: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
}

#[test]
fn a_small_truncated_database_is_refused() {
    let folder = database_of(&NAMES);
    let size = size(folder.path());
    let lengths: BTreeSet<_> = (0..size).step_by(41).chain([1, size - 1]).collect();
    let count = lengths.len();
    let is_complete = |store: &SledStore| names_in(store) == NAMES;
    let refused = refusals(folder.path(), lengths, truncate, is_complete);
    assert_eq!(refused, count);
    // Control: the complete database is opened.
    let refused = refusals(folder.path(), [size], truncate, is_complete);
    assert_eq!(refused, 0);
}

#[test]
fn a_small_database_with_a_flipped_byte_is_refused_or_complete() {
    let folder = database_of(&NAMES);
    let offsets = (0..size(folder.path())).step_by(37);
    let refused = refusals(folder.path(), offsets, flip, |store| {
        names_in(store) == NAMES
    });
    assert!(refused > 10, "{refused}");
}

#[test]
fn a_damaged_database_of_several_segments_is_refused_or_complete() {
    const THREADS: u64 = 64;
    const SESSIONS_PER_THREAD: u64 = 250;
    let folder = database_of(&NAMES);
    let store = open(folder.path()).unwrap();
    let alice = wait(store.user_by_name("alice")).unwrap().unwrap();
    at_once(THREADS as usize, async |thread| {
        for index in 0..SESSIONS_PER_THREAD {
            let number = thread as u64 * SESSIONS_PER_THREAD + index;
            store
                .create_session(new_session(number, None), proof(&alice), None)
                .await
                .unwrap();
        }
    });
    drop(store);
    wait_until_closed(folder.path());
    let size = size(folder.path());
    assert!(size > 4 << 20, "{size} is less than a segment");

    let is_complete = |store: &SledStore| {
        wait(async {
            for number in 0..THREADS * SESSIONS_PER_THREAD {
                let session = store.session(&token(number)).await.unwrap();
                if session.is_none() {
                    return false;
                }
            }
            names_in_now(store).await == NAMES
        })
    };
    let offsets = [0, 1, 100, 4_096, size / 3, 4 << 20, (4 << 20) + 1];
    let refused = refusals(folder.path(), offsets, truncate, is_complete);
    assert_eq!(refused, offsets.len());
    refusals(folder.path(), offsets, flip, is_complete);
    // The last byte may be padding.
    refusals(folder.path(), [size - 1], truncate, is_complete);
    refusals(folder.path(), [size - 1], flip, is_complete);
}

async fn names_in_now(store: &SledStore) -> Vec<String> {
    let users = store.users().await.unwrap().into_iter();
    users.map(|user| user.username).collect()
}

#[test]
fn an_older_copy_is_refused_until_the_operator_accepts_the_loss() {
    let folder = database_of(&["alice"]);
    let old = tempfile::tempdir().unwrap();
    copy_folder(folder.path(), old.path());
    add_users(folder.path(), &["bob", "carol"]);
    let commit = folder.path().join(COMMIT_FILE);
    fs::copy(commit, old.path().join(COMMIT_FILE)).unwrap();
    for _ in 0..2 {
        match open(old.path()).err() {
            Some(OpenError::Older {
                found: 1,
                acknowledged: 3,
                file,
                ..
            }) => assert_eq!(file, old.path().join(COMMIT_FILE)),
            other => panic!("{other:?}"),
        }
    }
    // The remedy in the error message.
    fs::remove_file(old.path().join(COMMIT_FILE)).unwrap();
    assert_eq!(names_in(&open(old.path()).unwrap()), ["alice"]);
}

#[test]
fn a_missing_database_is_refused() {
    let folder = database_of(&NAMES);
    fs::remove_dir_all(folder.path().join("db")).unwrap();
    for _ in 0..2 {
        assert!(matches!(
            open(folder.path()).err(),
            Some(OpenError::Missing { .. })
        ));
    }
}

#[test]
fn a_missing_empty_or_older_commit_file_is_repaired() {
    let changes: [fn(&Path); 3] = [
        |file| fs::remove_file(file).unwrap(),
        |file| fs::write(file, "").unwrap(),
        |file| fs::write(file, "00000000000000000001\n").unwrap(),
    ];
    for change in changes {
        let folder = database_of(&["alice", "bob"]);
        change(&folder.path().join(COMMIT_FILE));
        add_users(folder.path(), &["carol"]);
        assert_eq!(names_in(&open(folder.path()).unwrap()), NAMES);
        let text = fs::read_to_string(folder.path().join(COMMIT_FILE)).unwrap();
        assert_eq!(text, "00000000000000000003\n");
    }
}

#[test]
fn a_malformed_commit_file_is_refused_with_its_path() {
    let folder = database_of(&NAMES);
    let malformed: [&[u8]; 6] = [
        b"text",
        b"-1\n",
        b"3 3\n",
        b"0x3\n",
        b"99999999999999999999999\n",
        b"\xff\xfe\n",
    ];
    for text in malformed {
        set_commit_file(folder.path(), text);
        match open(folder.path()).err() {
            Some(error @ OpenError::BadCommitFile { .. }) => {
                let file = folder.path().join(COMMIT_FILE);
                assert!(error.to_string().contains(&file.display().to_string()));
            }
            other => panic!("{text:?}: {other:?}"),
        }
        let content = fs::read(folder.path().join(COMMIT_FILE)).unwrap();
        assert_eq!(content, text, "left for the operator to examine");
    }
}

#[test]
fn an_open_database_is_not_opened_again() {
    let folder = database_of(&NAMES);
    let first = open(folder.path()).unwrap();
    assert!(SledStore::open(folder.path()).is_err());
    assert_eq!(names_in(&first), NAMES);
    drop(first);
    assert_eq!(names_in(&open(folder.path()).unwrap()), NAMES);
}

#[test]
fn a_file_in_place_of_the_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("db"), "a file").unwrap();
    assert!(open(folder.path()).is_err());
}
