//! The working directory: one daemon at a time, and the id of its store.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::failure::{HasRemedy, Remedy, advice};
use crate::random;

/// Held by the running daemon.
const LOCK_FILE: &str = "lock";
/// 32 hex digits that name this store in Redis: whoever holds the directory
/// owns the processing lists under that name.
const STORE_ID_FILE: &str = "store.id";

/// Ids of the last runs, the newest last.
const RUNS_FILE: &str = "runs";
/// How many are kept: more than can have left anything behind.
const KEPT_RUNS: usize = 1_000;

/// Why the working directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WorkdirError {
    /// A file or the folder itself cannot be used.
    #[error("cannot use {path}: {error}{}", advice(path, error), path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another daemon works here.
    #[error(
        "another platypush-userd runs on {path}: stop it first, or give this one a workdir of its own", path = path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Users other than the owner may write to the directory.
    #[error(
        "others may write to the working directory {path} (mode {mode:o}), and so put another database or other keys there: chmod go-w {path}", path = path.display()
    )]
    WritableByOthers {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is there, and is not ours.
    #[error(
        "{path} does not hold a store id (32 hex digits): restore it from a backup. Without it, requests that were under way when the daemon last ended are not found", path = path.display()
    )]
    BadStoreId {
        /// The file.
        path: PathBuf,
    },
}

impl HasRemedy for WorkdirError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::Io { error, .. } => Remedy::of_io(error),
            // The other daemon may end.
            Self::Locked { .. } => Remedy::Restart,
            Self::WritableByOthers { .. } | Self::BadStoreId { .. } => Remedy::Person,
        }
    }
}

/// The locked working directory.
#[derive(Debug)]
pub struct Workdir {
    path: PathBuf,
    store_id: String,
    /// Closing it gives the lock back.
    _lock: File,
}

impl Workdir {
    /// Makes the directory if it is not there (mode 0700) and locks it.
    ///
    /// # Errors
    /// When it cannot be used, others may write to it or another daemon runs
    /// on it.
    pub fn open(path: &Path) -> Result<Self, WorkdirError> {
        make_folder(path).map_err(|error| at(path, error))?;
        check_mode(path)?;
        let lock = lock(path)?;
        Ok(Self {
            store_id: store_id(&path.join(STORE_ID_FILE))?,
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Draws the id of a new run and adds it to the runs of this store, which
    /// are returned in order, the new one last: what several of them left is
    /// taken over in that order.
    ///
    /// # Errors
    /// When the file of runs cannot be used.
    pub fn begin_run(&self) -> Result<Vec<[u8; 16]>, WorkdirError> {
        let path = self.path.join(RUNS_FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            result => result,
        };
        // The file only tells an order, so a damaged line must not prevent the start.
        let mut runs: Vec<[u8; 16]> = text
            .map_err(|error| at(&path, error))?
            .split(|byte| *byte == b'\n')
            .filter_map(|line| {
                let mut run = [0; 16];
                hex::decode_to_slice(line, &mut run).ok()?;
                Some(run)
            })
            .collect();
        runs.drain(..runs.len().saturating_sub(KEPT_RUNS));
        let run = random::bytes().map_err(|error| at(&path, error.into()))?;
        runs.push(run);
        write_runs(&path, &runs).map_err(|error| at(&path, error))?;
        Ok(runs)
    }

    /// Strikes out the last run, which has left nothing: it never had the queue.
    ///
    /// # Errors
    /// When the file of runs cannot be used.
    pub fn forget_run(&self, runs: &[[u8; 16]]) -> Result<(), WorkdirError> {
        let path = self.path.join(RUNS_FILE);
        let kept = runs.split_last().map_or(&[][..], |(_, kept)| kept);
        write_runs(&path, kept).map_err(|error| at(&path, error))
    }

    /// The random name of the store in it.
    #[must_use]
    pub fn store_id(&self) -> &str {
        &self.store_id
    }
}

fn at(path: &Path, error: io::Error) -> WorkdirError {
    WorkdirError::Io {
        path: path.to_owned(),
        error,
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Refuses a directory that others may write to, as ssh does; folders above it
/// are not looked at. Others who may only enter it read nothing that is not
/// open to them by itself.
fn check_mode(path: &Path) -> Result<(), WorkdirError> {
    let metadata = fs::metadata(path).map_err(|error| at(path, error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_dir() && mode & 0o022 != 0 {
        return Err(WorkdirError::WritableByOthers {
            path: path.to_owned(),
            mode,
        });
    }
    if mode & 0o077 != 0 {
        tracing::warn!(
            path = ?path,
            mode = format_args!("{mode:o}"),
            "others may enter the working directory: chmod 700 it"
        );
    }
    Ok(())
}

fn lock(folder: &Path) -> Result<File, WorkdirError> {
    let path = folder.join(LOCK_FILE);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| at(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(WorkdirError::Locked {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(at(&path, error)),
    }
}

/// Reads the store id, or draws one and writes it, whole or not at all.
fn store_id(path: &Path) -> Result<String, WorkdirError> {
    match fs::read(path) {
        Ok(bytes) => match str::from_utf8(&bytes).map(str::trim_end) {
            Ok(id) if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Ok(id.to_owned())
            }
            _ => Err(WorkdirError::BadStoreId {
                path: path.to_owned(),
            }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = random_id().map_err(|error| at(path, error))?;
            write_whole(path, &format!("{id}\n")).map_err(|error| at(path, error))?;
            Ok(id)
        }
        Err(error) => Err(at(path, error)),
    }
}

/// 128 random bits in hexadecimal.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn random_id() -> io::Result<String> {
    Ok(hex::encode(random::bytes::<16>()?))
}

fn write_runs(path: &Path, runs: &[[u8; 16]]) -> io::Result<()> {
    let lines: String = runs.iter().map(|run| hex::encode(run) + "\n").collect();
    write_whole(path, &lines)
}

/// Writes a file beside its place and moves it there when it is on disk.
pub(crate) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that others may not write to, whatever the umask.
    fn private() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    #[test]
    fn is_made_private_and_keeps_its_store_id() {
        let folder = private();
        let path = folder.path().join("a/b");
        let first = Workdir::open(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let id = first.store_id().to_owned();
        drop(first);
        assert_eq!(Workdir::open(&path).unwrap().store_id(), id);
    }

    #[test]
    fn runs_are_known_in_order() {
        let folder = private();
        let workdir = Workdir::open(folder.path()).unwrap();
        let first = workdir.begin_run().unwrap();
        let second = workdir.begin_run().unwrap();
        assert_eq!(second[..1], first);
        let third = workdir.begin_run().unwrap();
        assert_eq!(third[..2], second);
        workdir.forget_run(&third).unwrap();
        assert_eq!(workdir.begin_run().unwrap()[..2], second);
        fs::write(folder.path().join(RUNS_FILE), "rubbish").unwrap();
        assert_eq!(workdir.begin_run().unwrap().len(), 1);
    }

    /// Regression: bytes that are not UTF-8 prevented the start.
    #[test]
    fn bad_lines_of_runs_are_skipped() {
        let folder = private();
        let workdir = Workdir::open(folder.path()).unwrap();
        let first = workdir.begin_run().unwrap()[0];
        let damaged = [
            b"\xff\xfe\nrubbish\n",
            hex::encode(first).as_bytes(),
            b"\n\x00",
        ]
        .concat();
        fs::write(folder.path().join(RUNS_FILE), damaged).unwrap();
        let runs = workdir.begin_run().unwrap();
        assert_eq!((runs.len(), runs[0]), (2, first));
    }

    #[test]
    fn a_second_daemon_is_refused_until_the_first_ends() {
        let folder = private();
        let first = Workdir::open(folder.path()).unwrap();
        let error = Workdir::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("another platypush-userd runs on"), "{error}");
        drop(first);
        Workdir::open(folder.path()).unwrap();
    }

    #[test]
    fn a_damaged_store_id_is_not_replaced() {
        let folder = private();
        let rubbish: [&[u8]; 4] = [b"rubbish", b"", b"\xff\xfe", &[0; 32]];
        for bytes in rubbish {
            fs::write(folder.path().join(STORE_ID_FILE), bytes).unwrap();
            assert!(matches!(
                Workdir::open(folder.path()),
                Err(WorkdirError::BadStoreId { .. })
            ));
            assert_eq!(fs::read(folder.path().join(STORE_ID_FILE)).unwrap(), bytes);
        }
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let folder = private();
        for (mode, refused) in [(0o770, true), (0o702, true), (0o755, false), (0o700, false)] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            match Workdir::open(folder.path()) {
                Err(WorkdirError::WritableByOthers { mode: said, .. }) => {
                    assert!(refused);
                    assert_eq!(said, mode);
                }
                result => assert!(!refused && result.is_ok(), "{mode:o}: {result:?}"),
            }
        }
    }
}
