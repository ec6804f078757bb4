//! A temporary working directory for a dry run before the first start.

use std::fs::{DirBuilder, File, remove_dir_all};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::config::Config;
use crate::random;

/// Entries that a working directory has once a daemon or command has used it.
const SIGNS_OF_USE: [&str; 3] = ["db", "commit", "runs"];

/// Whether a working directory has no database and no trace of one. `false` for
/// a directory that cannot be read.
pub(super) fn has_no_database(workdir: &Path) -> bool {
    SIGNS_OF_USE
        .iter()
        .all(|name| matches!(workdir.join(name).try_exists(), Ok(false)))
}

/// A working directory that is removed when dropped.
pub(super) struct DryRunWorkdir(PathBuf);

impl DryRunWorkdir {
    /// Creates the directory, accessible to its owner only.
    pub(super) fn create() -> Result<Self> {
        let random = random::bytes::<16>()?;
        let name = format!("platypush-userd-dry-run-{}", hex::encode(random));
        let path = std::env::temp_dir().join(name);
        let created = DirBuilder::new().mode(0o700).create(&path);
        created.with_context(|| format!("cannot create {} for the dry run", path.display()))?;
        Ok(Self(path))
    }

    /// Returns the configuration with this directory as the working directory.
    pub(super) fn configure(&self, config: &Config) -> Config {
        Config {
            workdir: self.0.clone(),
            // Opening a new database would create the configured key file.
            secret_keys_file: None,
            ..config.clone()
        }
    }
}

impl Drop for DryRunWorkdir {
    fn drop(&mut self) {
        // sled's threads keep its files open, and locked, for a moment after the drop.
        let _ = File::open(self.0.join("db/db")).and_then(|data| data.lock());
        let _ = remove_dir_all(&self.0);
    }
}
