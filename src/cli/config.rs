//! `platypush-userd config`

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::{ConfigFile, complain, print};
use crate::redis::Connector;

/// Look at the configuration
#[derive(Debug, clap::Args)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    command: Look,
}

#[derive(Debug, Subcommand)]
enum Look {
    /// Check the configuration, and name every problem with its place
    ///
    /// Exits with 0 when the daemon would start with it.
    Check(ConfigFile),
    /// Print all effective values and where each came from
    ///
    /// Secrets are hidden. The output can be used as a configuration file.
    Dump(ConfigFile),
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.command {
            Look::Check(file) => {
                let loaded = file.load()?;
                // The files it names must be there, too.
                Connector::new(&loaded.config.redis)?;
                for warning in &loaded.config.warnings {
                    complain(format_args!("warning: {warning}"));
                }
                let from = loaded.file.map_or_else(
                    || "no file, the defaults".to_owned(),
                    |file| file.display().to_string(),
                );
                print(format!("The configuration is fine ({from}).\n").as_bytes())
            }
            Look::Dump(file) => print(file.load()?.dump().as_bytes()),
        }
    }
}
