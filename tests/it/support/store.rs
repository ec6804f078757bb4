//! The store on disk, opened beside or instead of a daemon.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use platypush_userd::store::sled::{OpenError, SledStore};

/// Makes a working directory that others may not write to, whatever the umask.
pub fn make_workdir(path: &Path) {
    DirBuilder::new().mode(0o700).create(path).unwrap();
}

/// Opens the store in a workdir when whoever had it open has closed it.
pub fn open_store(workdir: &Path) -> Result<SledStore, OpenError> {
    wait_until_closed(workdir);
    SledStore::open(workdir)
}

/// Waits until the database is closed: threads of sled's own hold it for a
/// moment after its last handle is gone, and with it the lock on its data.
pub fn wait_until_closed(workdir: &Path) {
    if let Ok(data) = File::open(workdir.join("db/db")) {
        data.lock().unwrap();
    }
}
