//! `platypush-userd export`: everything as JSON lines.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::ConfigFile;
use super::admin_client::{self, AdminClient};
use crate::admin::{AdminCommand, AdminReply};
use crate::text::printable_json;
use crate::transfer::export::Part;

/// Write all users and sessions to standard output, as JSON lines
///
/// For a backup while the daemon runs, and to move to another machine: import
/// jsonl reads it. What is secret in a line is sealed with the keys of the
/// moment: keep a copy of the file of keys with the export, apart from it. Who
/// and what changes meanwhile may or may not be in it.
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    #[command(flatten)]
    file: ConfigFile,
}

impl Export {
    pub(super) fn run(self) -> Result<ExitCode> {
        let loaded = self.file.load()?;
        admin_client::become_owner(&loaded)?;
        let mut client = AdminClient::enter(&loaded.config);
        let mut out = io::BufWriter::new(io::stdout().lock());
        let (mut users, mut sessions) = (0, 0);
        let mut key = None;
        let mut next = Some(Part::Heading);
        while let Some(part) = next {
            let part = match part {
                Part::Footing(export, ..) => Part::Footing(export, users, sessions),
                part => part,
            };
            let reply = client.run(AdminCommand::Export(part))?;
            let AdminReply::Exported(exported, following) = reply else {
                bail!("the daemon answered something else");
            };
            if *key.get_or_insert(exported.key) != exported.key {
                bail!(
                    "the key was rotated meanwhile, and what was written before does not open any \
                     more: run it again"
                );
            }
            for line in exported.lines {
                // Names stand in it in clear, and it may be looked at.
                let line = printable_json(&line);
                writeln!(out, "{line}").context("cannot write the export")?;
            }
            users += exported.users;
            sessions += exported.sessions;
            next = following;
        }
        out.flush().context("cannot write the export")?;
        Ok(ExitCode::SUCCESS)
    }
}
