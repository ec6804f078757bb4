//! Where the operator's commands are carried out: in the running daemon, or on
//! the store itself while there is none.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{geteuid, getuid};
use tokio::runtime::Runtime;

use super::{log, serve};
use crate::admin::{AdminCommand, AdminReply};
use crate::audit::Caller;
use crate::config::{Config, Loaded};
use crate::control;
use crate::daemon::Administration;
use crate::lifecycle;
use crate::text::printable;
use crate::workdir::WorkdirError;

/// How long to wait while somebody holds the working directory and nobody
/// listens: a daemon that starts or ends, or another of these commands.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Carries commands out, one after the other.
pub(super) struct AdminClient<'a> {
    config: &'a Config,
    /// The store, once it was found without a daemon.
    here: Option<(Runtime, Administration)>,
}

impl<'a> AdminClient<'a> {
    /// For the owner of the working directory.
    pub(super) fn enter(config: &'a Config) -> Self {
        lifecycle::forbid_core_dumps();
        serve::close_files_to_others();
        log::start(&config.log);
        Self { config, here: None }
    }

    /// Asks the daemon, or does it here while there is none.
    ///
    /// # Errors
    /// When it could not be done, in the words of whoever was to do it.
    pub(super) fn run(&mut self, command: AdminCommand) -> Result<AdminReply> {
        let workdir = &self.config.workdir;
        let started = Instant::now();
        let (runtime, administration) = loop {
            if let Some(here) = &self.here {
                break here;
            }
            let answer = control::ask(workdir, &command, sudo_uid())
                .with_context(|| format!("cannot talk to the daemon on {}", workdir.display()))?;
            if let Some(answer) = answer {
                return answer.map_err(in_words);
            }
            match open(self.config) {
                Ok(opened) => self.here = Some(opened),
                Err(error) if is_locked(&error) && started.elapsed() < PATIENCE => {
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(error),
            }
        };
        let by = Caller {
            uid: getuid().as_raw(),
            sudo_uid: sudo_uid(),
        };
        runtime
            .block_on(administration.run(command, &by))
            .map_err(in_words)
    }
}

/// Who called `sudo`, for the audit trail: root runs commands as the owner of the
/// working directory, of whom the daemon sees nothing else.
fn sudo_uid() -> Option<u32> {
    std::env::var("SUDO_UID").ok()?.parse().ok()
}

/// An answer for a terminal: it may quote names.
fn in_words(error: impl ToString) -> anyhow::Error {
    anyhow::Error::msg(printable(&error.to_string()))
}

fn open(config: &Config) -> Result<(Runtime, Administration)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let administration = runtime.block_on(Administration::open(config))?;
    Ok((runtime, administration))
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<WorkdirError>(),
        Some(WorkdirError::Locked { .. })
    )
}

/// Root's files in the working directory would shut the daemon out: root runs
/// the command anew as the owner of the directory.
pub(super) fn become_owner(loaded: &Loaded) -> Result<()> {
    let workdir = &loaded.config.workdir;
    if let Err(error) = workdir.metadata() {
        bail!(
            "there is no working directory {} ({error}). Name the daemon's with --config FILE or \
             PLATYPUSH_USERD_WORKDIR; that of the systemd service is /var/lib/platypush-userd: sudo env \
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

/// This program, to be run as the owner of the working directory; `None` where
/// it is already. It finds the same configuration.
///
/// Where there is no working directory yet, the owner of the folder in which it
/// is to be made: root's files in the home of a user would shut the user out.
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
    if let Some(file) = &loaded.file {
        command.env("PLATYPUSH_USERD_CONFIG", file);
    }
    Ok(Some(command))
}
