//! `platypush-userd config`: checks and prints the configuration.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::{ConfigFile, complain, print};
use crate::redis::Connector;

/// Check or print the configuration
#[derive(Debug, clap::Args)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    command: ConfigSubcommand,
}

#[derive(Debug, Subcommand)]
enum ConfigSubcommand {
    /// Check the configuration and list every problem with its location
    ///
    /// Exits with 0 if the daemon can start with it.
    Check(ConfigFile),
    /// Print all effective values and their sources
    ///
    /// Secrets are hidden. The output is a valid configuration file.
    Dump(ConfigFile),
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.command {
            ConfigSubcommand::Check(file) => {
                let loaded = file.load()?;
                // The files named in it (TLS certificates and keys) must be readable, too.
                Connector::new(&loaded.config.redis)?;
                for warning in &loaded.config.warnings {
                    complain(format_args!("warning: {warning}"));
                }
                let source = loaded.file.map_or_else(
                    || "no file, only defaults".to_owned(),
                    |file| file.display().to_string(),
                );
                print(format!("The configuration is valid ({source}).\n").as_bytes())
            }
            ConfigSubcommand::Dump(file) => print(file.load()?.dump().as_bytes()),
        }
    }
}
