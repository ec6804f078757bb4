//! The working directory: its lock, the id of its store and the ids of its runs.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::failure::{FileError, HasRemedy, Remedy};
use crate::random;

/// Locked by the running daemon.
const LOCK_FILE: &str = "lock";
/// Contains the store id, 32 hex digits. The daemon that holds the lock owns the processing lists
/// with this id in Redis.
const STORE_ID_FILE: &str = "store.id";

/// Contains the ids of the last runs, the newest last.
const RUNS_FILE: &str = "runs";
/// Number of earlier run ids that are kept: more than the runs that may need recovery.
const MAX_EARLIER_RUNS: usize = 1_000;

/// Error for an unusable working directory.
#[derive(Debug, thiserror::Error)]
pub enum WorkdirError {
    /// The directory or a file in it cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another daemon holds the lock.
    #[error(
        "another platypush-userd runs on {path}: stop it first, or set another workdir for this one", path = .0.display()
    )]
    Locked(PathBuf),
    /// Users other than the owner may write to the directory.
    #[error(
        "others may write to the working directory {path} (mode {mode:o}), and so could replace the database or its keys: chmod go-w {path}", path = path.display()
    )]
    WritableByOthers {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file exists but does not contain a store id.
    #[error(
        "{path} does not hold a store id (32 hex digits): restore it from a backup. Without it, requests that were in flight when the daemon last ended cannot be recovered", path = .0.display()
    )]
    BadStoreId(PathBuf),
}

impl HasRemedy for WorkdirError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::File(error) => error.remedy(),
            // The other daemon may exit.
            Self::Locked(_) => Remedy::Restart,
            Self::WritableByOthers { .. } | Self::BadStoreId(_) => Remedy::Operator,
        }
    }
}

/// The locked working directory.
#[derive(Debug)]
pub struct Workdir {
    path: PathBuf,
    store_id: String,
    /// Closing the file releases the lock.
    _lock: File,
}

impl Workdir {
    /// Locks the directory. Creates it with mode 0700 if it does not exist.
    ///
    /// # Errors
    /// When the directory cannot be used, other users may write to it or another daemon has
    /// locked it.
    pub fn open(path: &Path) -> Result<Self, WorkdirError> {
        create_folder(path).map_err(FileError::at(path))?;
        check_mode(path)?;
        let lock = lock(path)?;
        Ok(Self {
            store_id: store_id(&path.join(STORE_ID_FILE))?,
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Generates the id of a new run and appends it to the run ids of this store.
    ///
    /// Returns all run ids in order, the new one last. Recovery processes the earlier runs in
    /// this order.
    ///
    /// # Errors
    /// When the file of run ids cannot be used.
    pub fn begin_run(&self) -> Result<Vec<[u8; 16]>, WorkdirError> {
        let path = self.path.join(RUNS_FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            result => result,
        };
        // The file only gives an order, so a damaged line must not prevent the start.
        let mut run_ids: Vec<[u8; 16]> = text
            .map_err(FileError::at(&path))?
            .split(|byte| *byte == b'\n')
            .filter_map(|line| {
                let mut run_id = [0; 16];
                hex::decode_to_slice(line, &mut run_id).ok()?;
                Some(run_id)
            })
            .collect();
        run_ids.drain(..run_ids.len().saturating_sub(MAX_EARLIER_RUNS));
        run_ids.push(random::bytes().map_err(FileError::at(&path))?);
        self.write_runs(&run_ids)?;
        Ok(run_ids)
    }

    /// Removes the last of `run_ids` from the file: this run never owned the queue, so it left
    /// nothing to recover.
    ///
    /// # Errors
    /// When the file of run ids cannot be used.
    pub fn forget_run(&self, run_ids: &[[u8; 16]]) -> Result<(), WorkdirError> {
        self.write_runs(run_ids.split_last().map_or(&[], |(_, kept)| kept))
    }

    fn write_runs(&self, run_ids: &[[u8; 16]]) -> Result<(), WorkdirError> {
        let path = self.path.join(RUNS_FILE);
        let lines: String = run_ids.iter().map(|id| hex::encode(id) + "\n").collect();
        Ok(write_atomic(&path, &lines).map_err(FileError::at(&path))?)
    }

    /// Returns the random id of the store in the directory.
    #[must_use]
    pub fn store_id(&self) -> &str {
        &self.store_id
    }
}

fn create_folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Rejects a directory that other users may write to, as ssh does. Parent directories are not
/// checked. A directory that other users may only enter is a warning, because each file in it has
/// its own mode.
fn check_mode(path: &Path) -> Result<(), WorkdirError> {
    let metadata = fs::metadata(path).map_err(FileError::at(path))?;
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
        .map_err(FileError::at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(WorkdirError::Locked(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(FileError { path, error }.into()),
    }
}

/// Reads the store id. If the file does not exist, generates an id and writes it atomically.
fn store_id(path: &Path) -> Result<String, WorkdirError> {
    match fs::read(path) {
        Ok(bytes) => match str::from_utf8(&bytes).map(str::trim_end) {
            Ok(id) if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Ok(id.to_owned())
            }
            _ => Err(WorkdirError::BadStoreId(path.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = random::hex_id().map_err(FileError::at(path))?;
            write_atomic(path, &format!("{id}\n")).map_err(FileError::at(path))?;
            Ok(id)
        }
        Err(error) => Err(FileError::at(path)(error).into()),
    }
}

/// Replaces a file atomically: writes and syncs a file with the extension `new` beside it, renames
/// that file and syncs the directory.
pub(crate) fn write_atomic(path: &Path, text: &str) -> io::Result<()> {
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

    /// Returns a directory with mode 0700, whatever the umask.
    fn private_folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    #[test]
    fn creates_a_private_directory_and_keeps_its_store_id() {
        let folder = private_folder();
        let path = folder.path().join("a/b");
        let first = Workdir::open(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let id = first.store_id().to_owned();
        drop(first);
        assert_eq!(Workdir::open(&path).unwrap().store_id(), id);
    }

    #[test]
    fn run_ids_are_kept_in_order() {
        let folder = private_folder();
        let workdir = Workdir::open(folder.path()).unwrap();
        let first = workdir.begin_run().unwrap();
        let second = workdir.begin_run().unwrap();
        assert_eq!(second[..1], first);
        let third = workdir.begin_run().unwrap();
        assert_eq!(third[..2], second);
        workdir.forget_run(&third).unwrap();
        assert_eq!(workdir.begin_run().unwrap()[..2], second);
        fs::write(folder.path().join(RUNS_FILE), "garbage").unwrap();
        assert_eq!(workdir.begin_run().unwrap().len(), 1);
    }

    /// Regression: bytes that are not UTF-8 prevented the start.
    #[test]
    fn invalid_run_ids_are_skipped() {
        let folder = private_folder();
        let workdir = Workdir::open(folder.path()).unwrap();
        let first = workdir.begin_run().unwrap()[0];
        let damaged = [
            b"\xff\xfe\ngarbage\n",
            hex::encode(first).as_bytes(),
            b"\n\x00",
        ]
        .concat();
        fs::write(folder.path().join(RUNS_FILE), damaged).unwrap();
        let run_ids = workdir.begin_run().unwrap();
        assert_eq!((run_ids.len(), run_ids[0]), (2, first));
    }

    #[test]
    fn a_second_daemon_is_refused_until_the_first_exits() {
        let folder = private_folder();
        let first = Workdir::open(folder.path()).unwrap();
        let error = Workdir::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("another platypush-userd runs on"), "{error}");
        drop(first);
        Workdir::open(folder.path()).unwrap();
    }

    #[test]
    fn a_damaged_store_id_is_not_replaced() {
        let folder = private_folder();
        let garbage: [&[u8]; 4] = [b"garbage", b"", b"\xff\xfe", &[0; 32]];
        for bytes in garbage {
            fs::write(folder.path().join(STORE_ID_FILE), bytes).unwrap();
            assert!(matches!(
                Workdir::open(folder.path()),
                Err(WorkdirError::BadStoreId { .. })
            ));
            assert_eq!(fs::read(folder.path().join(STORE_ID_FILE)).unwrap(), bytes);
        }
    }

    #[test]
    fn a_directory_writable_by_others_is_refused() {
        let folder = private_folder();
        for (mode, refused) in [(0o770, true), (0o702, true), (0o755, false), (0o700, false)] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            match Workdir::open(folder.path()) {
                Err(WorkdirError::WritableByOthers { mode: reported, .. }) => {
                    assert!(refused);
                    assert_eq!(reported, mode);
                }
                result => assert!(!refused && result.is_ok(), "{mode:o}: {result:?}"),
            }
        }
    }
}
