//! `platypush-userd admin`: the operator's commands.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;

use super::admin_client::{self, AdminClient};
use super::{ConfigFile, print, prompt};
use crate::admin::{AdminCommand, AdminReply, UserState};
use crate::text::{printable, printable_cell};

/// Look after users and keys, on the machine of the daemon
///
/// Goes to the running daemon through `control.sock` in its working directory,
/// and to the database itself while no daemon runs. It needs to be run as the
/// owner of the working directory; run as root, it changes to that user. For the
/// systemd service:
///
/// sudo env PLATYPUSH_USERD_WORKDIR=/var/lib/platypush-userd platypush-userd
/// admin users
///
/// Each command is entered in the audit trail: in the daemon's log, or, while no
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
    /// that is no terminal. All sessions and API tokens of the user end and its
    /// failed attempts are forgotten; 2FA stays as it is.
    ResetPassword {
        #[command(flatten)]
        named: Named,
        /// Leave the API tokens of the user as they are
        #[arg(long)]
        keep_api_tokens: bool,
    },
    /// End all sessions of a user
    DeleteSessions(Named),
    /// End all API tokens of a user
    ///
    /// Those outlive a new password that the user sets, and the end of all sessions.
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
        let loaded = self.file.load()?;
        admin_client::become_owner(&loaded)?;
        let mut client = AdminClient::enter(&loaded.config);
        let done = self.task.done();
        let reply = client.run(self.task.into_command()?)?;
        print(render(reply, &printable(&done))?.as_bytes())
    }
}

impl Task {
    fn into_command(self) -> Result<AdminCommand> {
        Ok(match self {
            Self::Users => AdminCommand::Users,
            Self::Unlock(Named { name }) => AdminCommand::Unlock { name },
            Self::DisableOtp(Named { name }) => AdminCommand::DisableOtp { name },
            Self::ResetPassword {
                named: Named { name },
                keep_api_tokens,
            } => AdminCommand::ResetPassword {
                password: prompt::new_secret("new password")?.into(),
                name,
                keep_api_tokens,
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
            Self::ResetPassword {
                named: Named { name },
                keep_api_tokens,
            } => {
                let ended = if *keep_api_tokens {
                    "sessions"
                } else {
                    "sessions and API tokens"
                };
                format!("{name} has a new password; all its {ended} have ended")
            }
            Self::DeleteSessions(Named { name }) => format!("All sessions of {name} have ended"),
            Self::DeleteApiTokens(Named { name }) => {
                format!("All API tokens of {name} have ended")
            }
        }
    }
}

fn render(reply: AdminReply, done: &str) -> Result<String> {
    Ok(match reply {
        AdminReply::Users(users) => table(&users),
        AdminReply::Unlocked { exists: false } => {
            format!("{done}. There is no user of that name.\n")
        }
        AdminReply::Unlocked { exists: true } | AdminReply::Done => format!("{done}.\n"),
        AdminReply::KeyRotated { key, resealed } => format!(
            "Key {key} seals now; {resealed} secrets were sealed anew, and the old key is gone.\n"
        ),
        AdminReply::Imported(_) | AdminReply::Exported(..) => {
            bail!("the daemon answered something else")
        }
    })
}

fn table(users: &[UserState]) -> String {
    let heading = ["ID", "NAME", "CREATED (UTC)", "2FA", "FAILURES", "LOCKED"];
    super::table::align(&heading, users.iter().map(row))
}

fn row(user: &UserState) -> [String; 6] {
    [
        user.id.to_string(),
        // Names are clients' text: they must not reach a terminal as they are.
        printable_cell(&user.name),
        user.created.clone(),
        if user.second_factor { "on" } else { "-" }.into(),
        user.failures.to_string(),
        user.locked_for
            .map_or_else(|| "-".into(), |seconds| format!("{seconds} s")),
    ]
}
