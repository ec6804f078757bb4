//! Files that were cut off, replaced or spoilt. Anything may be refused;
//! nothing may panic, and nothing acknowledged may be missing without a word.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use platypush_userd::store::Store as _;
use platypush_userd::store::sled::{OpenError, SledStore};

use super::{COMMIT_FILE, add_users, copy_folder, database_of, names_in, open, wait_until_closed};
use crate::store_conformance::bench::{at_once, new_session, proof, token, wait};

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

fn set_commit_file(workdir: &Path, text: &[u8]) {
    fs::write(workdir.join(COMMIT_FILE), text).unwrap();
}

/// Spoils the data file of a copy of the database, once for each place, and
/// opens it. Gives how often it was refused; where it is opened, all must be
/// `whole`.
fn refusals(
    database: &Path,
    places: impl IntoIterator<Item = u64>,
    spoil: impl Fn(&File, u64),
    whole: impl Fn(&SledStore) -> bool,
) -> usize {
    let mut refused = 0;
    for place in places {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(database, copy.path());
        let data = copy.path().join("db/db");
        let file = File::options().read(true).write(true).open(data).unwrap();
        spoil(&file, place);
        match open(copy.path()) {
            Ok(store) => assert!(whole(&store), "silently lost, spoilt at {place}"),
            Err(OpenError::Older { .. } | OpenError::Engine { .. } | OpenError::Missing { .. }) => {
                refused += 1
            }
            Err(other) => panic!("spoilt at {place}: {other:?}"),
        }
    }
    refused
}

fn size(database: &Path) -> u64 {
    fs::metadata(database.join("db/db")).unwrap().len()
}

fn cut(file: &File, length: u64) {
    file.set_len(length).unwrap();
}

fn flip(file: &File, place: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[!byte[0]], place).unwrap();
}

#[test]
fn a_small_database_cut_off_anywhere_is_refused() {
    let folder = database_of(&NAMES);
    let size = size(folder.path());
    let places: BTreeSet<_> = (0..size).step_by(41).chain([1, size - 1]).collect();
    let all = places.len();
    let whole = |store: &SledStore| names_in(store) == NAMES;
    assert_eq!(refusals(folder.path(), places, cut, whole), all);
    // The oracle is no blind one: what is whole is opened.
    assert_eq!(refusals(folder.path(), [size], cut, whole), 0);
}

#[test]
fn a_small_database_with_a_flipped_byte_is_refused_or_whole() {
    let folder = database_of(&NAMES);
    let places = (0..size(folder.path())).step_by(37);
    let refused = refusals(folder.path(), places, flip, |store| {
        names_in(store) == NAMES
    });
    assert!(refused > 10, "{refused}");
}

#[test]
fn a_database_of_several_segments_that_is_damaged_is_refused_or_whole() {
    const THREADS: u64 = 64;
    const EACH: u64 = 250;
    let folder = database_of(&NAMES);
    let store = open(folder.path()).unwrap();
    let alice = wait(store.user_by_name("alice")).unwrap().unwrap();
    at_once(THREADS as usize, async |thread| {
        for number in 0..EACH {
            let new = new_session(thread as u64 * EACH + number, None);
            store
                .create_session(new, proof(&alice), None)
                .await
                .unwrap();
        }
    });
    drop(store);
    wait_until_closed(folder.path());
    let size = size(folder.path());
    assert!(size > 4 << 20, "{size} is less than a segment");

    let whole = |store: &SledStore| {
        wait(async {
            for number in 0..THREADS * EACH {
                let session = store.session(&token(number)).await.unwrap();
                if session.is_none() {
                    return false;
                }
            }
            names_in_now(store).await == NAMES
        })
    };
    let places = [0, 1, 100, 4_096, size / 3, 4 << 20, (4 << 20) + 1];
    assert_eq!(refusals(folder.path(), places, cut, whole), places.len());
    refusals(folder.path(), places, flip, whole);
    // The last byte may be padding.
    refusals(folder.path(), [size - 1], cut, whole);
    refusals(folder.path(), [size - 1], flip, whole);
}

async fn names_in_now(store: &SledStore) -> Vec<String> {
    let users = store.users().await.unwrap().into_iter();
    users.map(|user| user.username).collect()
}

#[test]
fn an_older_copy_is_refused_until_its_owner_accepts_the_loss() {
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
    // As the message says.
    fs::remove_file(old.path().join(COMMIT_FILE)).unwrap();
    assert_eq!(names_in(&open(old.path()).unwrap()), ["alice"]);
}

#[test]
fn a_database_that_is_gone_is_refused() {
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
fn a_commit_file_that_is_missing_or_empty_or_behind_is_made_good() {
    let spoil: [fn(&Path); 3] = [
        |file| fs::remove_file(file).unwrap(),
        |file| fs::write(file, "").unwrap(),
        |file| fs::write(file, "00000000000000000001\n").unwrap(),
    ];
    for spoil in spoil {
        let folder = database_of(&["alice", "bob"]);
        spoil(&folder.path().join(COMMIT_FILE));
        add_users(folder.path(), &["carol"]);
        assert_eq!(names_in(&open(folder.path()).unwrap()), NAMES);
        let text = fs::read_to_string(folder.path().join(COMMIT_FILE)).unwrap();
        assert_eq!(text, "00000000000000000003\n");
    }
}

#[test]
fn a_commit_file_that_holds_something_else_is_refused_by_name() {
    let folder = database_of(&NAMES);
    let rubbish: [&[u8]; 6] = [
        b"rubbish",
        b"-1\n",
        b"3 3\n",
        b"0x3\n",
        b"99999999999999999999999\n",
        b"\xff\xfe\n",
    ];
    for text in rubbish {
        set_commit_file(folder.path(), text);
        match open(folder.path()).err() {
            Some(error @ OpenError::BadCommitFile { .. }) => {
                let file = folder.path().join(COMMIT_FILE);
                assert!(error.to_string().contains(&file.display().to_string()));
            }
            other => panic!("{text:?}: {other:?}"),
        }
        let kept = fs::read(folder.path().join(COMMIT_FILE)).unwrap();
        assert_eq!(kept, text, "it is left for its owner to look at");
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
