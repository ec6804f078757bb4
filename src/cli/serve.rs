//! `platypush-userd serve`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::Mode;
use rustix::process::umask;

use super::{ConfigFile, admin_client, log};
use crate::daemon;
use crate::priority;

/// Most threads for what takes long. They stay once they have started, so that
/// nothing fails later for want of a thread.
const SLOW_THREADS: usize = 32;
const STAY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(super) fn run(file: &ConfigFile) -> Result<ExitCode> {
    close_files_to_others();
    let loaded = file.load()?;
    // Without a working directory there is no owner yet: it is made.
    if loaded.config.workdir.exists() {
        admin_client::become_owner(&loaded)?;
    }
    log::start(&loaded.config.log);
    match &loaded.file {
        Some(file) => tracing::info!(?file, "configuration read"),
        None => tracing::info!("no configuration file: the defaults serve"),
    }
    // One thread for all that waits; hashing and writing have their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Threads for what takes long: look-ups go first.
        .on_thread_start(priority::lower)
        .max_blocking_threads(SLOW_THREADS)
        .thread_keep_alive(STAY)
        .build()
        .context("cannot start the runtime")?;
    let served = runtime.block_on(daemon::serve(&loaded.config));
    // What still runs after the time for winding down is left to the next
    // start.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

/// sled makes its files for everybody to read. The folder they are in is shut,
/// but one that was there before may not be.
pub(super) fn close_files_to_others() {
    umask(Mode::RWXG | Mode::RWXO);
}
