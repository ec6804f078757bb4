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
use std::sync::Mutex;
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
/// Number of bytes that are read of a file at a time.
const READ_BYTES: usize = 1 << 20;

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
    let metadata = if_exists(&data, fs::metadata(&data))?;
    Ok(metadata.is_none_or(|metadata| metadata.len() == 0))
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
        let bytes = if_exists(&path, read)?.unwrap_or_default();
        if !bytes.iter().all(|b| b"0\n".contains(b)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Removes a leftover of an interrupted opening, if it exists and is a regular file.
fn remove(path: &Path) -> Result<(), OpenError> {
    let metadata = if_exists(path, fs::symlink_metadata(path))?;
    if metadata.is_some_and(|metadata| metadata.is_file()) {
        fs::remove_file(path).map_err(|error| io_error(path, error))?;
        tracing::warn!(file = ?path, "removed a leftover file of an interrupted database opening");
    }
    Ok(())
}

/// Reads all files that sled will read, and checks file descriptors and free space. sled takes a
/// read error for damage (`fetch` in its iterator.rs drops the error).
fn check_access(workdir: &Path) -> Result<(), OpenError> {
    let folder = workdir.join(DATABASE);
    let files = entries(&folder)?
        .into_iter()
        .chain(entries(&folder.join("blobs"))?);
    let mut buffer = vec![0; READ_BYTES];
    for entry in files {
        let path = entry.path();
        let failed = |error| io_error(&path, error);
        if !entry.file_type().map_err(failed)?.is_file() {
            continue;
        }
        let mut options = File::options();
        // sled opens only the data file for writing.
        let writes = entry.file_name() == "db";
        let file = options.read(true).write(writes).open(&path);
        file.and_then(|file| read_all(&file, &mut buffer))
            .map_err(failed)?;
    }
    let mut spare = Vec::with_capacity(SPARE_FILES);
    for _ in 0..SPARE_FILES {
        spare.push(File::open(workdir).map_err(|error| io_error(workdir, error))?);
    }
    if free_bytes(workdir) < NEEDED_BYTES {
        return Err(io_error(workdir, ErrorKind::StorageFull.into()));
    }
    Ok(())
}

/// Reads a whole file, with the system call that sled uses.
fn read_all(file: &File, buffer: &mut [u8]) -> io::Result<()> {
    let mut offset = 0;
    loop {
        match file.read_at(buffer, offset) {
            Ok(0) => return Ok(()),
            Ok(read) => offset += read as u64,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns the free space for a folder in bytes, or the maximum if it is unknown: a failed write is
/// noticed.
pub(super) fn free_bytes(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize))
}

/// Starts as many concurrent threads as sled will, and ends them.
fn check_threads() -> Result<(), OpenError> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        // The threads wait until this is dropped.
        let closed = gate.lock();
        let start = || thread::Builder::new().spawn_scoped(scope, || drop(gate.lock()));
        let (threads, failures): (Vec<_>, Vec<_>) =
            (0..SLED_THREADS).map(|_| start()).partition(Result::is_ok);
        drop(closed);
        let started = threads.len();
        // Joined one by one: the scope waits for the closures only, not for the threads.
        for thread in threads.into_iter().flatten() {
            let _ = thread.join();
        }
        match failures.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some(error) => Err(OpenError::Threads {
                started,
                needed: SLED_THREADS,
                error,
            }),
        }
    })
}

/// Returns the entries of a folder, or none if it does not exist.
fn entries(folder: &Path) -> Result<Vec<DirEntry>, OpenError> {
    let read = || fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>();
    Ok(if_exists(folder, read())?.unwrap_or_default())
}

/// Returns `None` for the error that a file or folder does not exist.
fn if_exists<T>(path: &Path, result: io::Result<T>) -> Result<Option<T>, OpenError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path, error)),
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
