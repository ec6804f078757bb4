//! `platypush-userd admin`: manages users and keys on the machine of the daemon.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;

use super::{ConfigFile, admin_client, print, prompt};
use crate::admin::{AdminCommand, AdminReply, UserState};
use crate::text::{printable, printable_cell};

/// Manage users and keys, on the machine of the daemon
///
/// Connects to the running daemon through `control.sock` in its working
/// directory, or opens the database itself if no daemon runs. Run it as the owner
/// of the working directory, or as root: it then changes to that user. For the
/// systemd service:
///
/// sudo env PLATYPUSH_USERD_WORKDIR=/var/lib/platypush-userd platypush-userd
/// admin users
///
/// Each command is logged in the audit trail: in the daemon's log, or on standard
/// error if no daemon runs.
///
/// Exits with 0 on success. On failure it prints the reason and exits with 1, or
/// with 78 if the operator has to repair the database or its keys.
#[derive(Debug, clap::Args)]
pub(super) struct Admin {
    #[command(flatten)]
    file: ConfigFile,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// List all users with 2FA, failed attempts and lock time
    Users,
    /// Clear the failed attempts of a name, which unlocks it at once
    ///
    /// Also works for the name of no user: such names are locked, too.
    Unlock(Named),
    /// Disable 2FA for a user who has lost the phone and the backup codes
    ///
    /// The password alone is then enough to log in. Sessions stay valid: delete
    /// them with delete-sessions.
    DisableOtp(Named),
    /// Set a new password for a user
    ///
    /// Prompts for the password without echo, or reads a line of standard input if
    /// that is no terminal. Deletes all sessions and API tokens of the user and
    /// clears its failed attempts. Does not change 2FA.
    ResetPassword {
        #[command(flatten)]
        named: Named,
        /// Keep the API tokens of the user
        #[arg(long)]
        keep_api_tokens: bool,
    },
    /// Delete all sessions of a user
    DeleteSessions(Named),
    /// Delete all API tokens of a user
    ///
    /// They stay valid when the user changes the password, and when all sessions
    /// are deleted.
    DeleteApiTokens(Named),
    /// Seal all secrets with a new key, and remove the old key
    ///
    /// The daemon keeps running. Back up the key file afterwards: an older copy
    /// does not open secrets that are sealed with the new key.
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
        admin_client::prepare(&loaded.config);
        let success = self.task.success_message();
        let command = self.task.into_command()?;
        let reply = admin_client::run(&loaded.config, command, &mut |_| Ok(()))?;
        print(render(reply, &printable(&success))?.as_bytes())
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

    /// Returns the message to print on success.
    fn success_message(&self) -> String {
        match self {
            Self::Users | Self::RotateKey => String::new(),
            Self::Unlock(Named { name }) => format!("Cleared the failed attempts of {name}"),
            Self::DisableOtp(Named { name }) => format!("Disabled 2FA for {name}"),
            Self::ResetPassword {
                named: Named { name },
                keep_api_tokens,
            } => {
                let deleted = if *keep_api_tokens {
                    "sessions"
                } else {
                    "sessions and API tokens"
                };
                format!("Set a new password for {name}; deleted all its {deleted}")
            }
            Self::DeleteSessions(Named { name }) => format!("Deleted all sessions of {name}"),
            Self::DeleteApiTokens(Named { name }) => {
                format!("Deleted all API tokens of {name}")
            }
        }
    }
}

fn render(reply: AdminReply, success: &str) -> Result<String> {
    Ok(match reply {
        AdminReply::Users(users) => table(&users),
        AdminReply::Unlocked { exists: false } => {
            format!("{success}. There is no user of that name.\n")
        }
        AdminReply::Unlocked { exists: true } | AdminReply::Done => format!("{success}.\n"),
        AdminReply::KeyRotated { key, resealed } => {
            format!("Rotated to key {key}: resealed {resealed} secrets and removed the old key.\n")
        }
        AdminReply::Imported(_) => bail!("unexpected reply from the daemon"),
    })
}

fn table(users: &[UserState]) -> String {
    let heading = ["ID", "NAME", "CREATED (UTC)", "2FA", "FAILURES", "LOCKED"];
    super::table::align(&heading, users.iter().map(row))
}

fn row(user: &UserState) -> [String; 6] {
    [
        user.id.to_string(),
        // Clients chose the names: control characters must not reach a terminal.
        printable_cell(&user.name),
        user.created.clone(),
        if user.second_factor { "on" } else { "-" }.into(),
        user.failures.to_string(),
        user.locked_for
            .map_or_else(|| "-".into(), |seconds| format!("{seconds} s")),
    ]
}
