//! Client of the operator's commands: sends them to the running daemon, or runs
//! them on the store itself if no daemon runs.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{geteuid, getuid};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::{log, runtime, serve};
use crate::admin::{AdminCommand, AdminReply};
use crate::audit::Caller;
use crate::config::{AS_OWNER_VARIABLE, Config, Loaded};
use crate::control;
use crate::daemon::Administration;
use crate::lifecycle;
use crate::text::printable;
use crate::workdir::WorkdirError;

/// Maximum wait while another process has locked the working directory and no
/// process listens on the socket: a daemon that starts or stops, or another command.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Protects what this process reads and writes, and starts its log. To be called before a secret is
/// read.
pub(super) fn prepare(config: &Config) {
    lifecycle::forbid_core_dumps();
    serve::set_private_umask();
    log::start(&config.log);
}

/// Runs a command in the daemon, or on the store in this process if no daemon runs. The process
/// must run as the owner of the working directory. The lines of an export go to `on_lines`.
///
/// # Errors
/// Returns the error of the command, of the connection or the store, or of `on_lines`.
pub(super) fn run(
    config: &Config,
    command: AdminCommand,
    on_lines: &mut dyn FnMut(Vec<String>) -> io::Result<()>,
) -> Result<AdminReply> {
    let workdir = &config.workdir;
    let started = Instant::now();
    let (administration, runtime) = loop {
        let mut written = Ok(());
        let answer = control::ask(workdir, &command, sudo_uid(), &mut |lines| {
            written = on_lines(lines);
            written.is_ok()
        });
        written.context("cannot write the export")?;
        let answer = answer
            .with_context(|| format!("cannot talk to the daemon on {}", workdir.display()))?;
        if let Some(answer) = answer {
            return answer.map_err(printable_error);
        }
        match open(config) {
            Ok(opened) => break opened,
            Err(error) if is_locked(&error) && started.elapsed() < LOCK_TIMEOUT => {
                std::thread::sleep(RETRY_PAUSE);
            }
            Err(error) => return Err(error),
        }
    };
    let administration = &administration;
    let by = Caller {
        uid: getuid().as_raw(),
        sudo_uid: sudo_uid(),
    };
    runtime.block_on(async {
        let (sender, mut lines) = mpsc::channel(1);
        let run = async move { administration.run(command, &by, &sender).await };
        // Owns the receiver, so that the export ends if the lines cannot be written.
        let write = async move {
            while let Some(lines) = lines.recv().await {
                on_lines(lines).context("cannot write the export")?;
            }
            anyhow::Ok(())
        };
        let (reply, written) = tokio::join!(run, write);
        written?;
        reply.map_err(printable_error)
    })
}

/// Returns the uid of the user who called `sudo`, for the audit trail. The daemon sees only the
/// owner of the working directory, because root runs commands as that user.
fn sudo_uid() -> Option<u32> {
    std::env::var("SUDO_UID").ok()?.parse().ok()
}

/// Makes an error printable on a terminal: it may quote names.
fn printable_error(error: impl ToString) -> anyhow::Error {
    anyhow::Error::msg(printable(&error.to_string()))
}

/// Opens the store in this process.
fn open(config: &Config) -> Result<(Administration, Runtime)> {
    let runtime = runtime()?;
    Ok((runtime.block_on(Administration::open(config))?, runtime))
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(WorkdirError::Locked { .. }))
}

/// If the process runs as root, executes the program again as the owner of the working directory.
/// Files that root created there would shut the daemon out.
pub(super) fn become_owner(loaded: &Loaded) -> Result<()> {
    let workdir = &loaded.config.workdir;
    if let Err(error) = workdir.metadata() {
        bail!(
            "there is no working directory {} ({error}). Name the daemon's with --config FILE or \
             PLATYPUSH_USERD_WORKDIR. For the systemd service, run: sudo env \
             PLATYPUSH_USERD_WORKDIR=/var/lib/platypush-userd platypush-userd …",
            workdir.display()
        );
    }
    let Some(mut command) = as_owner(loaded)? else {
        return Ok(());
    };
    let error = command.args(std::env::args_os().skip(1)).exec();
    Err(error).with_context(|| format!("cannot run as the owner of {}", workdir.display()))
}

/// Returns a command that runs this program as the owner of the working directory, with the same
/// configuration. Returns `None` unless the process runs as root and the owner is another user.
///
/// If the working directory does not exist yet, the owner is that of its closest existing parent:
/// files that root created in the home directory of a user would shut the user out.
pub(super) fn as_owner(loaded: &Loaded) -> Result<Option<Command>> {
    let workdir = std::path::absolute(&loaded.config.workdir)?;
    let Some(owner) = workdir.ancestors().find_map(|path| path.metadata().ok()) else {
        return Ok(None);
    };
    if !geteuid().is_root() || owner.uid() == 0 {
        return Ok(None);
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.uid(owner.uid()).gid(owner.gid());
    command.env("PLATYPUSH_USERD_WORKDIR", workdir);
    command.env(AS_OWNER_VARIABLE, "1");
    if let Some(file) = &loaded.file {
        command.env("PLATYPUSH_USERD_CONFIG", file);
    }
    Ok(Some(command))
}
