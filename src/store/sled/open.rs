//! Opening the database: what is checked before anything is served.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::group::Group;
use super::records;
use super::session_cache::{MAX_BYTES, SessionCache};
use super::writer::{Disk, RESERVED_MIB};
use crate::store::StoreError;

/// sled's data folder inside the working directory.
const DATABASE: &str = "db";
/// Number of the last commit, kept outside of sled.
const COMMIT_FILE: &str = "commit";
/// Large segments: with sled's own 512 KiB, sled 0.34 was seen to hang when
/// much was written between two flushes.
const SEGMENT_BYTES: usize = 4 << 20;
/// sled's page cache (its default is 1 GiB).
const CACHE_BYTES: u64 = 16 << 20;
/// Most names of nobody whose failures are kept.
pub(super) const MAX_ATTEMPTED: u64 = 1_000_000;

/// As few as in a group of the writer, and for the same reason.
const MIGRATED_AT_ONCE: usize = 256;

/// Why the database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file could not be used.
    #[error("cannot open the database: {0}")]
    Io(#[from] io::Error),
    /// sled refused, or panicked, which is how it meets a cut-off file.
    #[error("cannot open the database in {path}: {reason}. Restore a backup; nothing was changed", path = path.display())]
    Engine {
        /// The database folder.
        path: PathBuf,
        /// What sled said.
        reason: String,
    },
    /// It was written by a newer program.
    #[error(
        "the database has schema version {found}, this program knows up to {known}: install the newer platypush-userd that wrote it"
    )]
    NewerSchema {
        /// What stands in the database.
        found: u32,
        /// What this program writes.
        known: u32,
    },
    /// Acknowledged changes are missing.
    #[error(
        "the database in {path} ends at commit {found}, but commit {acknowledged} had been acknowledged: it was cut off or replaced by an older copy. Restore a backup; or, to accept what is lost, remove {file}",
        path = path.display(), file = file.display()
    )]
    Older {
        /// The database folder.
        path: PathBuf,
        /// The file with the number of the last commit.
        file: PathBuf,
        /// Last commit in the database.
        found: u64,
        /// Last commit that had been acknowledged.
        acknowledged: u64,
    },
    /// The file with the number of the last commit cannot be read.
    #[error("{file} does not hold a commit number: restore it from a backup, or remove it", file = file.display())]
    BadCommitFile {
        /// The file.
        file: PathBuf,
    },
}

pub(super) fn open(workdir: &Path) -> Result<Disk, OpenError> {
    let folder = workdir.join(DATABASE);
    let db = open_sled(&folder)?;
    let tree: ::sled::Tree = (*db).clone();
    let engine = |reason: String| OpenError::Engine {
        path: folder.clone(),
        reason,
    };

    let schema = check_schema(&tree, &engine)?;
    let found = match tree
        .get(records::COMMIT)
        .map_err(|e| engine(e.to_string()))?
    {
        Some(bytes) => records::number(&bytes).map_err(|e| engine(e.to_string()))?,
        None => 0,
    };
    let (commit_file, acknowledged) = open_commit_file(&workdir.join(COMMIT_FILE), found)?;
    if found < acknowledged {
        return Err(OpenError::Older {
            file: workdir.join(COMMIT_FILE),
            path: folder,
            found,
            acknowledged,
        });
    }
    if schema < records::SCHEMA_VERSION {
        migrate(&tree, schema).map_err(|e| engine(e.to_string()))?;
    }

    take_back_arrivals(&tree, found).map_err(|e| engine(e.to_string()))?;

    tree.flush().map_err(|e| engine(e.to_string()))?;
    let data_file = File::open(folder.join("db"))?;
    data_file.sync_all()?;
    // The names of the files, too, must outlive a power cut.
    File::open(&folder)?.sync_all()?;
    File::open(workdir)?.sync_all()?;
    Ok(Disk {
        folder,
        tree,
        data_file,
        commit_file,
        commit: found,
        sessions: Arc::new(SessionCache::new(MAX_BYTES)),
        reserved_mib: RESERVED_MIB,
        max_attempted: MAX_ATTEMPTED,
    })
}

fn open_sled(folder: &Path) -> Result<::sled::Db, OpenError> {
    let config = ::sled::Config::new()
        .path(folder)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(CACHE_BYTES)
        // The one writer flushes; a second flusher only costs.
        .flush_every_ms(None);
    catch(|| config.open()).map_err(|reason| OpenError::Engine {
        path: folder.to_owned(),
        reason,
    })
}

/// Makes an error of a panic: sled meets some damaged files with one.
fn catch<T>(open: impl FnOnce() -> ::sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => opened.map_err(|error| super::engine_error(error).to_string()),
        Err(_) => Err("its files are damaged".to_owned()),
    }
}

/// The schema of the database: a new one is stamped, a newer one refused.
fn check_schema(
    tree: &::sled::Tree,
    engine: &impl Fn(String) -> OpenError,
) -> Result<u32, OpenError> {
    let known = records::SCHEMA_VERSION;
    match tree
        .get(records::SCHEMA)
        .map_err(|e| engine(e.to_string()))?
    {
        Some(bytes) => {
            let found = <[u8; 4]>::try_from(&*bytes)
                .map(u32::from_be_bytes)
                .map_err(|_| engine("its schema version is unreadable".into()))?;
            match found {
                found if found > known => Err(OpenError::NewerSchema { found, known }),
                found => Ok(found),
            }
        }
        None if tree.is_empty() => {
            tree.insert(records::SCHEMA, &known.to_be_bytes())
                .map_err(|e| engine(e.to_string()))?;
            Ok(known)
        }
        None => Err(engine("it holds something else".into())),
    }
}

/// Takes users back who had not all come when the process ended.
fn take_back_arrivals(tree: &::sled::Tree, commit: u64) -> Result<(), StoreError> {
    loop {
        let mut group = Group::new(tree, MAX_ATTEMPTED);
        if !group.take_back()? {
            return Ok(());
        }
        tree.apply_batch(group.into_batch(commit))
            .and_then(|()| tree.flush())
            .map_err(super::engine_error)?;
    }
}

/// Brings an older database up to today's schema. It can be cut short at any
/// point: the new version is written last, and the next start does it again.
fn migrate(tree: &::sled::Tree, from: u32) -> Result<(), StoreError> {
    if from == 1 {
        add_sessions_of_users(tree)?;
    }
    // What version 3 brought is added to records when it is first needed.
    tree.insert(records::SCHEMA, &records::SCHEMA_VERSION.to_be_bytes())
        .map(|_| ())
        .map_err(super::engine_error)
}

fn add_sessions_of_users(tree: &::sled::Tree) -> Result<(), StoreError> {
    let mut batch = ::sled::Batch::default();
    for (seen, entry) in tree.scan_prefix(records::SESSIONS).enumerate() {
        if seen % MIGRATED_AT_ONCE == MIGRATED_AT_ONCE - 1 {
            let full = std::mem::take(&mut batch);
            tree.apply_batch(full)
                .and_then(|()| tree.flush())
                .map_err(super::engine_error)?;
        }
        let (key, bytes) = entry.map_err(super::engine_error)?;
        // What is unreadable authenticates nobody.
        let session =
            records::token_of_key(&key).and_then(|token| records::decode_session(token, &bytes));
        if let Ok(session) = session {
            batch.insert(records::user_session_key(&session), Vec::new());
        }
    }
    tree.apply_batch(batch)
        .and_then(|()| tree.flush())
        .map(|_| ())
        .map_err(super::engine_error)
}

/// The commit file and the number in it. A missing or empty file gets the
/// number `found` in the database, on disk at once: from then on it is only
/// overwritten in place.
fn open_commit_file(path: &Path, found: u64) -> Result<(File, u64), OpenError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let bad = || OpenError::BadCommitFile {
        file: path.to_owned(),
    };
    let text = io::read_to_string(&file).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => bad(),
        _ => error.into(),
    })?;
    let acknowledged = match text.trim_end() {
        "" => {
            file.write_all_at(super::commit_line(found).as_bytes(), 0)?;
            file.sync_all()?;
            found
        }
        number => number.parse().map_err(|_| bad())?,
    };
    Ok((file, acknowledged))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cut-off files of several segments were seen to do this to sled 0.34.7
    /// (`serialization.rs:662`), but none that is small enough for a test.
    #[test]
    fn a_panic_while_opening_is_an_error() {
        let opened = catch(|| -> ::sled::Result<()> { panic!("on purpose") });
        assert_eq!(opened.unwrap_err(), "its files are damaged");
        assert_eq!(catch(|| Ok(7)), Ok(7));
    }
}
