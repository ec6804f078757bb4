//! The database's files before sled opens them: what it leaves behind when it
//! is interrupted, and what it would mistake for damage.

use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use super::open::{COMMIT_FILE, OpenError, SEGMENT_BYTES};

/// sled's data folder inside the working directory.
pub(super) const DATABASE: &str = "db";
/// What shows, beside the number of the last commit, that a daemon served here.
const RUNS_FILE: &str = "runs";
/// Room without which sled is not let at its files: opening writes a snapshot
/// and may begin a segment, and it does not bear that a write fails.
const NEEDED_BYTES: u64 = 2 * SEGMENT_BYTES as u64;
/// Most files that an opening has open at a time, with some to spare.
const FILES: usize = 8;
/// Threads that sled starts for its reads and writes. It waits for ever where
/// not one of them can be started.
const THREADS: usize = 7;

/// Looks at the files of a working directory whose lock is held, and removes
/// what an interrupted opening left that would make sled refuse them.
///
/// # Errors
/// When sled must not be let at them: recovery takes what cannot be read for
/// the end of the log and overwrites what is behind it.
pub(super) fn prepare(workdir: &Path) -> Result<(), OpenError> {
    let folder = workdir.join(DATABASE);
    if is_new(&folder)? {
        if let Some(file) = sign_of_use(workdir)? {
            return Err(OpenError::Missing { path: folder, file });
        }
        // sled writes `conf` in two steps before there is any data, and refuses half a one.
        remove(&folder.join("conf"))?;
    }
    for entry in entries(&folder)? {
        // sled 0.34.7 takes it for its newest snapshot (`get_snapshot_files`).
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(b"snap.") && name.ends_with(b".generating") {
            remove(&entry.path())?;
        }
    }
    check_access(workdir)?;
    check_threads()
}

/// Whether no data file was ever begun.
fn is_new(folder: &Path) -> Result<bool, OpenError> {
    let data = folder.join("db");
    match fs::metadata(&data) {
        Ok(metadata) => Ok(metadata.len() == 0),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(at(&data, error)),
    }
}

/// A file that is there only where a database was used. (Number 0 is written
/// when a database is made: a power cut may keep it and not the database.)
fn sign_of_use(workdir: &Path) -> Result<Option<PathBuf>, OpenError> {
    for name in [COMMIT_FILE, RUNS_FILE] {
        let path = workdir.join(name);
        let read = File::open(&path).and_then(|file| {
            let mut beginning = Vec::new();
            file.take(64).read_to_end(&mut beginning).map(|_| beginning)
        });
        match read {
            Ok(bytes) if bytes.iter().all(|b| b"0\n".contains(b)) => {}
            Ok(_) => return Ok(Some(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(at(&path, error)),
        }
    }
    Ok(None)
}

/// Removes what an interrupted opening left, if it is there and a file.
fn remove(path: &Path) -> Result<(), OpenError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(path, error)),
    }
    fs::remove_file(path).map_err(|error| at(path, error))?;
    tracing::warn!(file = ?path, "removed what an interrupted opening of the database left");
    Ok(())
}

/// Reads all files as sled will: it takes an error for damage (`fetch` in its
/// iterator.rs drops it).
fn check_access(workdir: &Path) -> Result<(), OpenError> {
    let folder = workdir.join(DATABASE);
    let files = entries(&folder)?
        .into_iter()
        .chain(entries(&folder.join("blobs"))?);
    let mut buffer = vec![0; 1 << 20];
    for entry in files {
        let path = entry.path();
        let failed = |error| at(&path, error);
        if !entry.file_type().map_err(failed)?.is_file() {
            continue;
        }
        let mut options = File::options();
        // The data file is the only one that is opened for writing.
        let writes = entry.file_name() == "db";
        let file = options
            .read(true)
            .write(writes)
            .open(&path)
            .map_err(failed)?;
        let mut place = 0;
        loop {
            match file.read_at(&mut buffer, place) {
                Ok(0) => break,
                Ok(read) => place += read as u64,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    let mut spare = Vec::with_capacity(FILES);
    for _ in 0..FILES {
        spare.push(File::open(workdir).map_err(|error| at(workdir, error))?);
    }
    check_room(workdir)
}

fn check_room(workdir: &Path) -> Result<(), OpenError> {
    // An unreadable figure is no reason to refuse: what follows from it is noticed.
    let Ok(fs) = rustix::fs::statvfs(workdir) else {
        return Ok(());
    };
    if fs.f_bavail.saturating_mul(fs.f_frsize) >= NEEDED_BYTES {
        return Ok(());
    }
    Err(at(workdir, ErrorKind::StorageFull.into()))
}

/// Starts as many threads as sled will, all at a time, and ends them.
fn check_threads() -> Result<(), OpenError> {
    let mut threads = Vec::with_capacity(THREADS);
    let (end, ended) = mpsc::channel::<()>();
    let ended = std::sync::Arc::new(std::sync::Mutex::new(ended));
    let mut failed = None;
    while threads.len() < THREADS && failed.is_none() {
        let ended = std::sync::Arc::clone(&ended);
        let wait = move || {
            let _ = ended.lock().map(|ended| ended.recv());
        };
        match thread::Builder::new().spawn(wait) {
            Ok(thread) => threads.push(thread),
            Err(error) => failed = Some(error),
        }
    }
    let started = threads.len();
    drop(end);
    for thread in threads {
        let _ = thread.join();
    }
    match failed {
        None => Ok(()),
        Some(error) => Err(OpenError::Threads {
            started,
            needed: THREADS,
            error,
        }),
    }
}

/// What is in a folder; nothing where there is none.
fn entries(folder: &Path) -> Result<Vec<DirEntry>, OpenError> {
    let read = || fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>();
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        result => result.map_err(|error| at(folder, error)),
    }
}

/// Returns why the database could not be opened: what sled says, unless its
/// files cannot be used at all.
pub(super) fn explain(workdir: &Path, reason: String) -> OpenError {
    check_access(workdir)
        .err()
        .unwrap_or_else(|| OpenError::Engine {
            path: workdir.join(DATABASE),
            reason,
        })
}

/// The same for an error of sled's.
pub(super) fn explain_sled(workdir: &Path, error: ::sled::Error) -> OpenError {
    match error {
        ::sled::Error::Io(error) if !is_damage(&error) => match check_access(workdir) {
            Err(with_path) => with_path,
            Ok(()) => at(&workdir.join(DATABASE), error),
        },
        error => explain(workdir, super::engine_error(error).to_string()),
    }
}

/// Whether an error of sled's is about what it read, such as a file that ends
/// too early, not about reading it.
fn is_damage(error: &io::Error) -> bool {
    let kinds = [
        ErrorKind::UnexpectedEof,
        ErrorKind::InvalidData,
        ErrorKind::InvalidInput,
    ];
    error.raw_os_error().is_none() && kinds.contains(&error.kind())
}

pub(super) fn at(path: &Path, error: io::Error) -> OpenError {
    OpenError::Io {
        path: path.to_owned(),
        error,
    }
}
