//! Checks of the database files before sled opens them.
//!
//! - An interrupted opening leaves files that make sled refuse the database. They are removed.
//! - sled drops read errors and takes them for the end of its log. So every file is read first.
//! - sled waits for ever if no thread can be started. So as many threads as sled needs are started
//!   and ended first.

use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use super::open::{COMMIT_FILE, OpenError, SEGMENT_BYTES};

/// sled's data folder inside the working directory.
pub(super) const DATABASE: &str = "db";
/// File with the run ids. Like the commit file, it shows that a daemon has used the directory.
const RUNS_FILE: &str = "runs";
/// Minimum free space for opening. sled writes a snapshot and may begin a segment then, and does
/// not tolerate a failed write.
const NEEDED_BYTES: u64 = 2 * SEGMENT_BYTES as u64;
/// Number of file descriptors that must be free. It exceeds the number of files that sled has open
/// at once during an opening.
const SPARE_FILES: usize = 8;
/// Number of threads that sled starts for its reads and writes. sled hangs if no thread can be
/// started.
const SLED_THREADS: usize = 7;

/// Checks the files of a locked working directory, and removes leftovers of an interrupted
/// opening that would make sled refuse the database.
///
/// # Errors
/// If sled must not open the files: its recovery takes unreadable data for the end of the log and
/// overwrites the data after it.
pub(super) fn prepare(workdir: &Path) -> Result<(), OpenError> {
    let folder = workdir.join(DATABASE);
    if is_new(&folder)? {
        if let Some(file) = usage_marker(workdir)? {
            return Err(OpenError::Missing { path: folder, file });
        }
        // sled writes `conf` in two steps before any data, and refuses an incomplete one.
        remove(&folder.join("conf"))?;
    }
    for entry in entries(&folder)? {
        // sled 0.34.7 takes an unfinished snapshot for its newest one (`get_snapshot_files`).
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(b"snap.") && name.ends_with(b".generating") {
            remove(&entry.path())?;
        }
    }
    check_access(workdir)?;
    check_threads()
}

/// Returns whether the data file is missing or empty.
fn is_new(folder: &Path) -> Result<bool, OpenError> {
    let data = folder.join("db");
    match fs::metadata(&data) {
        Ok(metadata) => Ok(metadata.len() == 0),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(io_error(&data, error)),
    }
}

/// Returns a file that shows that a database was used. Commit number 0 does not show it: it is
/// written with a new database, and may survive a power cut without the database.
fn usage_marker(workdir: &Path) -> Result<Option<PathBuf>, OpenError> {
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
            Err(error) => return Err(io_error(&path, error)),
        }
    }
    Ok(None)
}

/// Removes a leftover of an interrupted opening, if it exists and is a regular file.
fn remove(path: &Path) -> Result<(), OpenError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(path, error)),
    }
    fs::remove_file(path).map_err(|error| io_error(path, error))?;
    tracing::warn!(file = ?path, "removed a leftover file of an interrupted database opening");
    Ok(())
}

/// Reads all files that sled will read, and checks file descriptors and free space. sled takes a
/// read error for damage (`fetch` in its iterator.rs drops the error).
fn check_access(workdir: &Path) -> Result<(), OpenError> {
    let folder = workdir.join(DATABASE);
    let files = entries(&folder)?
        .into_iter()
        .chain(entries(&folder.join("blobs"))?);
    let mut buffer = vec![0; 1 << 20];
    for entry in files {
        let path = entry.path();
        let failed = |error| io_error(&path, error);
        if !entry.file_type().map_err(failed)?.is_file() {
            continue;
        }
        let mut options = File::options();
        // sled opens only the data file for writing.
        let writes = entry.file_name() == "db";
        let file = options
            .read(true)
            .write(writes)
            .open(&path)
            .map_err(failed)?;
        let mut offset = 0;
        loop {
            match file.read_at(&mut buffer, offset) {
                Ok(0) => break,
                Ok(read) => offset += read as u64,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    let mut spare = Vec::with_capacity(SPARE_FILES);
    for _ in 0..SPARE_FILES {
        spare.push(File::open(workdir).map_err(|error| io_error(workdir, error))?);
    }
    check_free_space(workdir)
}

fn check_free_space(workdir: &Path) -> Result<(), OpenError> {
    // If the free space is unknown, continue: a failed write is noticed.
    let Ok(fs) = rustix::fs::statvfs(workdir) else {
        return Ok(());
    };
    if fs.f_bavail.saturating_mul(fs.f_frsize) >= NEEDED_BYTES {
        return Ok(());
    }
    Err(io_error(workdir, ErrorKind::StorageFull.into()))
}

/// Starts as many concurrent threads as sled will, and ends them.
fn check_threads() -> Result<(), OpenError> {
    let mut threads = Vec::with_capacity(SLED_THREADS);
    let (end, ended) = mpsc::channel::<()>();
    let ended = std::sync::Arc::new(std::sync::Mutex::new(ended));
    let mut failed = None;
    while threads.len() < SLED_THREADS && failed.is_none() {
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
            needed: SLED_THREADS,
            error,
        }),
    }
}

/// Returns the entries of a folder, or none if it does not exist.
fn entries(folder: &Path) -> Result<Vec<DirEntry>, OpenError> {
    let read = || fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>();
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        result => result.map_err(|error| io_error(folder, error)),
    }
}

/// Returns the error for a failed opening: an access error if the files are inaccessible, otherwise
/// `reason`.
pub(super) fn explain(workdir: &Path, reason: String) -> OpenError {
    check_access(workdir)
        .err()
        .unwrap_or_else(|| OpenError::Engine {
            path: workdir.join(DATABASE),
            reason,
        })
}

/// Like [`explain`], for an error of sled.
pub(super) fn explain_sled(workdir: &Path, error: ::sled::Error) -> OpenError {
    match error {
        ::sled::Error::Io(error) if !is_damage(&error) => match check_access(workdir) {
            Err(with_path) => with_path,
            Ok(()) => io_error(&workdir.join(DATABASE), error),
        },
        error => explain(workdir, super::engine_error(error).to_string()),
    }
}

/// Returns whether an error of sled is about the content of a file, such as an early end, and not
/// about access to it.
fn is_damage(error: &io::Error) -> bool {
    let kinds = [
        ErrorKind::UnexpectedEof,
        ErrorKind::InvalidData,
        ErrorKind::InvalidInput,
    ];
    error.raw_os_error().is_none() && kinds.contains(&error.kind())
}

pub(super) fn io_error(path: &Path, error: io::Error) -> OpenError {
    OpenError::Io {
        path: path.to_owned(),
        error,
    }
}
