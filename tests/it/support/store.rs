//! Opens the store on disk without a daemon.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use platypush_userd::store::sled::{OpenError, SledStore};

/// Creates a working directory with mode 0700, whatever the umask.
pub fn make_workdir(path: &Path) {
    DirBuilder::new().mode(0o700).create(path).unwrap();
}

/// Opens the store in a working directory once it is closed everywhere else.
pub fn open_store(workdir: &Path) -> Result<SledStore, OpenError> {
    wait_until_closed(workdir);
    SledStore::open(workdir)
}

/// Waits until the database is closed: background threads of sled keep it open, and locked, for a
/// moment after the last handle is dropped.
pub fn wait_until_closed(workdir: &Path) {
    if let Ok(data) = File::open(workdir.join("db/db")) {
        data.lock().unwrap();
    }
}
