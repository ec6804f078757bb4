//! `platypush-userd admin`: manages users and keys on the machine of the daemon.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::{ConfigFile, admin_client, print, prompt};
use crate::admin::{AdminCommand, AdminReply, UserState};
use crate::lifecycle;
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
    command: AdminCommand,
}

impl Admin {
    pub(super) fn run(mut self) -> Result<ExitCode> {
        let loaded = self.file.load()?;
        admin_client::become_owner(&loaded)?;
        if let AdminCommand::ResetPassword { password, .. } = &mut self.command {
            lifecycle::forbid_core_dumps();
            *password = prompt::new_secret("new password")?.into();
        }
        let success = success_message(&self.command);
        let reply = admin_client::run(&loaded.config, self.command, &mut |_| Ok(()))?;
        print(render(reply, &printable(&success))?.as_bytes())
    }
}

/// Returns the message to print on success.
fn success_message(command: &AdminCommand) -> String {
    match command {
        AdminCommand::Unlock { name } => format!("Cleared the failed attempts of {name}"),
        AdminCommand::DisableOtp { name } => format!("Disabled 2FA for {name}"),
        AdminCommand::ResetPassword {
            name,
            keep_api_tokens,
            ..
        } => {
            let deleted = if *keep_api_tokens {
                "sessions"
            } else {
                "sessions and API tokens"
            };
            format!("Set a new password for {name}; deleted all its {deleted}")
        }
        AdminCommand::DeleteSessions { name } => format!("Deleted all sessions of {name}"),
        AdminCommand::DeleteApiTokens { name } => format!("Deleted all API tokens of {name}"),
        AdminCommand::Users
        | AdminCommand::RotateKey
        | AdminCommand::Import(_)
        | AdminCommand::Export => String::new(),
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
