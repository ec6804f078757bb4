//! A database for a dry run where there is none yet.

use std::fs::{DirBuilder, File, remove_dir_all};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::config::Config;
use crate::random;

/// What a working directory has once it was used.
const SIGNS_OF_USE: [&str; 3] = ["db", "commit", "runs"];

/// Whether there is no database, and nothing that tells of one. A folder that
/// may not be entered may have one.
pub(super) fn has_no_database(workdir: &Path) -> bool {
    SIGNS_OF_USE
        .iter()
        .all(|name| matches!(workdir.join(name).try_exists(), Ok(false)))
}

/// A working directory that goes when it is dropped.
pub(super) struct Rehearsal(PathBuf);

impl Rehearsal {
    /// Makes the folder, for nobody else.
    pub(super) fn prepare() -> Result<Self> {
        let random = random::bytes::<16>()?;
        let name = format!("platypush-userd-dry-run-{}", hex::encode(random));
        let path = std::env::temp_dir().join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make {} for the dry run", path.display()))?;
        Ok(Self(path))
    }

    /// The configuration with this folder in place of the working directory.
    pub(super) fn configure(&self, config: &Config) -> Config {
        Config {
            workdir: self.0.clone(),
            // A new database would make them.
            secret_keys_file: None,
            ..config.clone()
        }
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        // sled's threads have its files for a moment longer than we have.
        let _ = File::open(self.0.join("db/db")).and_then(|data| data.lock());
        let _ = remove_dir_all(&self.0);
    }
}
