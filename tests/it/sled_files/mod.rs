//! Opening of the sled store on existing files: databases of this and of other versions, foreign
//! databases, and the results of crashes and wrong restores.

mod damage;
mod interrupted;
mod leftovers;
mod stored;

use std::fs;
use std::path::Path;

use platypush_userd::store::sled::SledStore;
use platypush_userd::store::{Precondition, Store as _};

use crate::store_changes::Changes as _;
use crate::store_conformance::bench::{new_user, proof, wait};
use crate::support::{open_store as open, wait_until_closed};

/// File with the number of the last commit.
const COMMIT_FILE: &str = "commit";

/// Creates a database with these users and closes it.
fn database_of(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    add_users(folder.path(), names);
    folder
}

/// Adds users, each in its own commit.
pub fn add_users(workdir: &Path, names: &[&str]) {
    let store = open(workdir).unwrap();
    for name in names {
        let first = wait(store.users()).unwrap().into_iter().next();
        let precondition = first.map_or(Precondition::NoUsers, |user| {
            Precondition::Password(proof(&user))
        });
        wait(store.create_user(new_user(name), precondition, None)).unwrap();
    }
    drop(store);
    wait_until_closed(workdir);
}

fn names_in(store: &SledStore) -> Vec<String> {
    let users = wait(store.users()).unwrap();
    users.into_iter().map(|user| user.username).collect()
}

/// Copies a folder recursively.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
