//! `platypush-userd serve`: runs the daemon.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::Mode;
use rustix::process::umask;

use super::{ConfigFile, admin_client, log};
use crate::daemon;
use crate::priority;

/// Maximum number of threads for blocking work.
const BLOCKING_THREADS: usize = 32;
/// Time for which an idle thread is kept: practically forever, so that no request fails later
/// because a thread cannot be started.
const KEEP_ALIVE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(super) fn run(file: &ConfigFile) -> Result<ExitCode> {
    set_private_umask();
    let loaded = file.load()?;
    // A missing working directory has no owner yet: the daemon creates it.
    if loaded.config.workdir.exists() {
        admin_client::become_owner(&loaded)?;
    }
    log::start(&loaded.config.log);
    match &loaded.file {
        Some(file) => tracing::info!(?file, "configuration read"),
        None => tracing::info!("no configuration file: using the defaults"),
    }
    // One thread for all asynchronous work; hashing and writing have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Blocking work runs at a lower priority than look-ups.
        .on_thread_start(priority::lower)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(KEEP_ALIVE)
        .build()
        .context("cannot start the runtime")?;
    let served = runtime.block_on(daemon::serve(&loaded.config));
    // The next start recovers the requests that still run after the shutdown timeout.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

/// Sets a umask that denies access to group and others.
///
/// sled creates world-readable files. The daemon creates its working directory without access for
/// others, but an existing directory may be open to them.
pub(super) fn set_private_umask() {
    umask(Mode::RWXG | Mode::RWXO);
}
