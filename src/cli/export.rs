//! `platypush-userd export`: writes all users and sessions as JSON lines.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::{ConfigFile, admin_client};
use crate::admin::AdminCommand;
use crate::text::printable_json;

/// Write all users and sessions to standard output, as JSON lines
///
/// Use it for a backup while the daemon runs, or to move to another machine:
/// import jsonl reads it. Secrets in a line are sealed with the current keys, so
/// also keep a copy of the key file, in another place than the export. Changes
/// during the export may or may not be in it.
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    #[command(flatten)]
    file: ConfigFile,
}

impl Export {
    pub(super) fn run(self) -> Result<ExitCode> {
        let loaded = self.file.load()?;
        admin_client::become_owner(&loaded)?;
        admin_client::prepare(&loaded.config);
        let mut out = io::BufWriter::new(io::stdout().lock());
        let mut write = |lines: Vec<String>| {
            // Clients chose the names: control characters must not reach a terminal.
            let mut lines = lines.iter().map(|line| printable_json(line));
            lines.try_for_each(|line| writeln!(out, "{line}"))
        };
        admin_client::run(&loaded.config, AdminCommand::Export, &mut write)?;
        out.flush().context("cannot write the export")?;
        Ok(ExitCode::SUCCESS)
    }
}
