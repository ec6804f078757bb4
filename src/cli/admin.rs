//! `platypush-userd admin`: the operator's commands.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use rustix::process::{geteuid, getuid};

use super::{ConfigFile, print, prompt, serve};
use crate::admin::{AdminCommand, AdminReply, UserState};
use crate::config::Config;
use crate::control::{self, Answer};
use crate::daemon;
use crate::lifecycle;
use crate::workdir::WorkdirError;

/// How long to wait while somebody holds the working directory and nobody
/// listens: a daemon that starts or ends, or another of these commands.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Look after users and keys, on the machine of the daemon
///
/// Goes to the running daemon through `control.sock` in its working directory,
/// and to the database itself while no daemon runs. It needs to be run as the
/// owner of the working directory; run as root, it changes to that user. Each
/// command is entered in the audit trail: in the daemon's log, or, while no
/// daemon runs, on standard error.
///
/// Exits with 0 when it is done; when not, it says why and exits with 1, or with
/// 78 when the database or its keys need a person.
#[derive(Debug, clap::Args)]
pub(super) struct Admin {
    #[command(flatten)]
    file: ConfigFile,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// List all users: 2FA, failed attempts, and for how long they are locked
    Users,
    /// Forget the failed attempts under a name, so that it can be tried at once
    ///
    /// Works for names that nobody has as well: those are locked alike.
    Unlock(Named),
    /// Switch 2FA off for a user who has lost the phone and the backup codes
    ///
    /// The password alone logs in from then on. Sessions stay: end them with
    /// delete-sessions.
    DisableOtp(Named),
    /// Give a user a new password
    ///
    /// It is asked for without echo, or read as a line of standard input when
    /// that is no terminal. All sessions of the user end and its failed
    /// attempts are forgotten; 2FA stays as it is.
    ResetPassword(Named),
    /// End all sessions of a user
    DeleteSessions(Named),
    /// End all API tokens of a user
    ///
    /// Those outlive a new password and the end of all sessions.
    DeleteApiTokens(Named),
    /// Seal all secrets with a new key, and drop the old one
    ///
    /// The daemon serves on. Back up the file of keys again afterwards: the
    /// old one does not open what is sealed from now on.
    RotateKey,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// Name of the user
    name: String,
}

impl Admin {
    pub(super) fn run(self) -> Result<ExitCode> {
        let config = self.file.load()?.config;
        become_owner(&config.workdir)?;
        lifecycle::forbid_core_dumps();
        serve::close_files_to_others();
        serve::start_log(&config.log);
        let done = self.task.done();
        let answer = carry_out(&config, &self.task.into_command()?)?;
        match answer {
            Ok(reply) => print(render(reply, &done).as_bytes()),
            Err(error) => bail!(error),
        }
    }
}

impl Task {
    fn into_command(self) -> Result<AdminCommand> {
        Ok(match self {
            Self::Users => AdminCommand::Users,
            Self::Unlock(Named { name }) => AdminCommand::Unlock { name },
            Self::DisableOtp(Named { name }) => AdminCommand::DisableOtp { name },
            Self::ResetPassword(Named { name }) => AdminCommand::ResetPassword {
                password: prompt::new_secret("new password")?.into(),
                name,
            },
            Self::DeleteSessions(Named { name }) => AdminCommand::DeleteSessions { name },
            Self::DeleteApiTokens(Named { name }) => AdminCommand::DeleteApiTokens { name },
            Self::RotateKey => AdminCommand::RotateKey,
        })
    }

    /// What to say when it is done.
    fn done(&self) -> String {
        match self {
            Self::Users | Self::RotateKey => String::new(),
            Self::Unlock(Named { name }) => format!("The failed attempts of {name} are forgotten"),
            Self::DisableOtp(Named { name }) => format!("2FA is off for {name}"),
            Self::ResetPassword(Named { name }) => {
                format!("{name} has a new password; all its sessions have ended")
            }
            Self::DeleteSessions(Named { name }) => format!("All sessions of {name} have ended"),
            Self::DeleteApiTokens(Named { name }) => {
                format!("All API tokens of {name} have ended")
            }
        }
    }
}

/// Asks the daemon, or does it here while there is none.
fn carry_out(config: &Config, command: &AdminCommand) -> Result<Answer> {
    let workdir = &config.workdir;
    let started = Instant::now();
    loop {
        let answer = control::ask(workdir, command)
            .with_context(|| format!("cannot talk to the daemon on {}", workdir.display()))?;
        if let Some(answer) = answer {
            return Ok(answer);
        }
        match on_the_store(config, command) {
            Err(error) if is_locked(&error) && started.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<WorkdirError>(),
        Some(WorkdirError::Locked { .. })
    )
}

fn on_the_store(config: &Config, command: &AdminCommand) -> Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let by = format!("uid {}", getuid().as_raw());
    runtime.block_on(daemon::administer(config, command, &by))
}

/// Root's files in the working directory would shut the daemon out: root runs
/// the command anew as the owner of the directory.
fn become_owner(workdir: &Path) -> Result<()> {
    let owner = workdir.metadata().with_context(|| {
        format!(
            "there is no working directory {}: name the daemon's with --config FILE or \
             PLATYPUSH_USERD_WORKDIR",
            workdir.display()
        )
    })?;
    if !geteuid().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command
        .args(std::env::args_os().skip(1))
        .uid(owner.uid())
        .gid(owner.gid());
    let error = command.exec();
    Err(error).with_context(|| {
        format!(
            "cannot run as the owner of {}, uid {}",
            workdir.display(),
            owner.uid()
        )
    })
}

fn render(reply: AdminReply, done: &str) -> String {
    match reply {
        AdminReply::Users(users) => table(&users),
        AdminReply::Unlocked { exists: false } => {
            format!("{done}. There is no user of that name.\n")
        }
        AdminReply::Unlocked { exists: true } | AdminReply::Done => format!("{done}.\n"),
        AdminReply::KeyRotated { key, resealed } => format!(
            "Key {key} seals now; {resealed} secrets were sealed anew, and the old key is gone.\n"
        ),
    }
}

fn table(users: &[UserState]) -> String {
    let heading = ["ID", "NAME", "CREATED (UTC)", "2FA", "FAILURES", "LOCKED"].map(String::from);
    let rows: Vec<_> = std::iter::once(heading)
        .chain(users.iter().map(row))
        .collect();
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let width = |row: &[String; 6]| row[column].chars().count();
        rows.iter().map(width).max().unwrap_or_default()
    });
    let mut table = String::new();
    for row in &rows {
        let line: Vec<_> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        table.push_str(line.join("  ").trim_end());
        table.push('\n');
    }
    table
}

fn row(user: &UserState) -> [String; 6] {
    [
        user.id.to_string(),
        // Names are clients' text: they must not reach a terminal as they are.
        user.name.escape_debug().to_string(),
        user.created.clone(),
        if user.second_factor { "on" } else { "-" }.into(),
        user.failures.to_string(),
        user.locked_for
            .map_or_else(|| "-".into(), |seconds| format!("{seconds} s")),
    ]
}
