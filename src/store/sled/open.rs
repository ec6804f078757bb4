//! Opening of the database, with all checks before the first request.
//!
//! The number of the last commit is also in the file `commit` of the working directory. A database
//! with a smaller number is refused: after a power cut or damage, sled can open an older or even
//! empty database.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Bounds;
use super::files::{self, DATABASE};
use super::group::Writes;
use super::records;
use super::session_cache::{MAX_BYTES, SessionCache};
use super::writer::{Disk, import};
use crate::failure::{HasRemedy, Remedy, advice};
use crate::store::StoreError;

/// File with the number of the last commit, outside of sled.
pub(super) const COMMIT_FILE: &str = "commit";
/// Segment size. With its default of 512 KiB, sled 0.34 was seen to hang after large writes
/// between two flushes.
pub(super) const SEGMENT_BYTES: usize = 4 << 20;
/// Size of sled's page cache (default: 1 GiB).
const CACHE_BYTES: u64 = 16 << 20;

/// Error of opening the database.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or folder could not be accessed.
    #[error("cannot open the database: {path}: {error}{}", advice(path, error), path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Cause.
        error: io::Error,
    },
    /// The operating system refused to start a thread.
    #[error(
        "cannot open the database: only {started} of {needed} threads could be started: {error}; raise the limit (TasksMax= of the service, `ulimit -u` of a shell)"
    )]
    Threads {
        /// Number of threads that started.
        started: usize,
        /// Number of threads that are needed.
        needed: usize,
        /// Cause.
        error: io::Error,
    },
    /// The database is missing, but the working directory has been used.
    #[error(
        "there is no database in {path}, but {file} shows that there was one. Restore a backup; or, to begin with an empty database, move that folder away and remove the files `commit` and `runs` beside it", path = path.display(), file = file.display()
    )]
    Missing {
        /// The database folder.
        path: PathBuf,
        /// File that shows the earlier use.
        file: PathBuf,
    },
    /// sled returned an error or panicked, as it does on some truncated files.
    #[error("cannot open the database in {path}: {reason}. Restore a backup", path = path.display())]
    Engine {
        /// The database folder.
        path: PathBuf,
        /// Cause, as far as sled reports it.
        reason: String,
    },
    /// A newer program wrote the database.
    #[error(
        "the database has schema version {found}, this program knows up to {known}: install the newer platypush-userd that wrote it"
    )]
    NewerSchema {
        /// Version of the database.
        found: u32,
        /// Version that this program writes.
        known: u32,
    },
    /// An older program wrote the database.
    #[error(
        "the database in {path} has schema version {found}, this program reads {known}: export with the version that wrote it, then import here", path = path.display()
    )]
    OlderSchema {
        /// The database folder.
        path: PathBuf,
        /// Version of the database.
        found: u32,
        /// Version that this program reads.
        known: u32,
    },
    /// Commits that were answered are missing from the database.
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
        /// Last commit according to the file.
        acknowledged: u64,
    },
    /// The file with the number of the last commit cannot be read.
    #[error("{file} does not hold a commit number: restore it from a backup, or remove it", file = file.display())]
    BadCommitFile {
        /// The file.
        file: PathBuf,
    },
}

impl HasRemedy for OpenError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::Io { error, .. } => Remedy::of_io(error),
            Self::Threads { .. } => Remedy::Restart,
            Self::Missing { .. }
            | Self::Engine { .. }
            | Self::NewerSchema { .. }
            | Self::OlderSchema { .. }
            | Self::Older { .. }
            | Self::BadCommitFile { .. } => Remedy::Operator,
        }
    }
}

pub(super) fn open(workdir: &Path, bounds: Bounds) -> Result<Disk, OpenError> {
    files::prepare(workdir)?;
    let folder = workdir.join(DATABASE);
    let db = open_sled(workdir)?;
    let tree: ::sled::Tree = (*db).clone();
    let engine = |error: StoreError| files::explain(workdir, error.to_string());
    let failed = |error| files::explain_sled(workdir, error);

    check_schema(workdir, &tree)?;
    let found = match tree.get(records::COMMIT).map_err(failed)? {
        Some(bytes) => records::number(&bytes).map_err(engine)?,
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
    roll_back_imports(&tree, found).map_err(engine)?;

    tree.flush().map_err(failed)?;
    // sled never syncs `conf`, and refuses a database whose `conf` is empty after a power cut.
    sync(&folder.join("conf"))?;
    let data_file = sync(&folder.join("db"))?;
    // The directory entries must survive a power cut, too.
    sync(&folder)?;
    sync(workdir)?;
    Ok(Disk {
        folder,
        tree,
        data_file,
        commit_file,
        commit: found,
        sessions: Arc::new(SessionCache::new(MAX_BYTES)),
        bounds,
    })
}

fn sync(path: &Path) -> Result<File, OpenError> {
    File::open(path)
        .and_then(|file| file.sync_all().map(|()| file))
        .map_err(|error| files::io_error(path, error))
}

fn open_sled(workdir: &Path) -> Result<::sled::Db, OpenError> {
    let config = ::sled::Config::new()
        .path(workdir.join(DATABASE))
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(CACHE_BYTES)
        // The writer flushes after each group. sled's flusher thread would only add cost.
        .flush_every_ms(None);
    match catch(|| config.open()) {
        Some(opened) => opened.map_err(|error| files::explain_sled(workdir, error)),
        None => Err(files::explain(workdir, "its files are damaged".into())),
    }
}

/// Returns `None` if `open` panics, as sled does on some damaged files.
fn catch<T>(open: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(open)).ok()
}

/// Writes the schema version to a new database, and refuses a database with another version.
fn check_schema(workdir: &Path, tree: &::sled::Tree) -> Result<(), OpenError> {
    let known = records::SCHEMA_VERSION;
    let engine = |reason: &str| files::explain(workdir, reason.to_owned());
    let failed = |error| files::explain_sled(workdir, error);
    match tree.get(records::SCHEMA).map_err(failed)? {
        Some(bytes) => {
            let found = <[u8; 4]>::try_from(&*bytes)
                .map(u32::from_be_bytes)
                .map_err(|_| engine("its schema version is unreadable"))?;
            match found {
                found if found > known => Err(OpenError::NewerSchema { found, known }),
                found if found < known => Err(OpenError::OlderSchema {
                    path: workdir.join(DATABASE),
                    found,
                    known,
                }),
                _ => Ok(()),
            }
        }
        None if tree.is_empty() => {
            let inserted = tree.insert(records::SCHEMA, &known.to_be_bytes());
            inserted.map(|_| ()).map_err(failed)
        }
        None => Err(engine("it holds something else")),
    }
}

/// Rolls back an import that was incomplete when the process ended.
fn roll_back_imports(tree: &::sled::Tree, commit: u64) -> Result<(), StoreError> {
    loop {
        let mut writes = Writes::default();
        if !import::roll_back(tree, &mut writes)? {
            return Ok(());
        }
        tree.apply_batch(writes.into_batch(commit).0)
            .and_then(|()| tree.flush())
            .map_err(super::engine_error)?;
    }
}

/// Opens the commit file and returns it with its number. A missing or empty file gets the number
/// `found` in the database and is synced, because later writes only overwrite it in place.
fn open_commit_file(path: &Path, found: u64) -> Result<(File, u64), OpenError> {
    let failed = |error| files::io_error(path, error);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let bad = || OpenError::BadCommitFile {
        file: path.to_owned(),
    };
    let text = io::read_to_string(&file).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => bad(),
        _ => failed(error),
    })?;
    let acknowledged = match text.trim_end() {
        "" => {
            file.write_all_at(super::commit_line(found).as_bytes(), 0)
                .and_then(|()| file.sync_all())
                .map_err(failed)?;
            found
        }
        number => number.parse().map_err(|_| bad())?,
    };
    Ok((file, acknowledged))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sled 0.34.7 was seen to panic (`serialization.rs:662`) on truncated files of several
    /// segments, but on no file small enough for a test.
    #[test]
    fn a_panic_while_opening_is_an_error() {
        assert_eq!(catch(|| panic!("on purpose")), None::<()>);
        assert_eq!(catch(|| 7), Some(7));
    }
}
