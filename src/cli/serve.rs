//! `platypush-userd serve`

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use rustix::fs::Mode;
use rustix::process::umask;
use tracing_subscriber::fmt;

use super::ConfigFile;
use crate::config::{Log, LogFormat};
use crate::daemon;
use crate::priority;

pub(super) fn run(file: &ConfigFile) -> Result<ExitCode> {
    close_files_to_others();
    let loaded = file.load()?;
    start_log(&loaded.config.log);
    match &loaded.file {
        Some(file) => tracing::info!(?file, "configuration read"),
        None => tracing::info!("no configuration file: the defaults serve"),
    }
    // One thread for all that waits; hashing and writing have their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Threads for what takes long: look-ups go first.
        .on_thread_start(priority::lower)
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

/// The log goes to standard error, which is systemd's journal. Text from
/// clients is only ever logged in its escaped `Debug` form.
pub(super) fn start_log(log: &Log) {
    let base = fmt().with_max_level(log.level).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => base
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => base.json().flatten_event(true).init(),
    }
    // A panic's message may quote what it was about; its place is enough.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a panic: please report it");
    }));
}
