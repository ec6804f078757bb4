//! The operator's commands on the store itself, while no daemon runs.

use std::sync::Arc;

use anyhow::Result;

use super::build;
use crate::admin::{AdminCommand, Operator};
use crate::audit::Caller;
use crate::config::Config;
use crate::control::Answer;
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::transfer::export::Lines;
use crate::workdir::Workdir;

/// Runs the operator's commands in this process.
pub struct Administration {
    operator: Operator,
    _workdir: Workdir,
}

impl Administration {
    /// Opens the store.
    ///
    /// # Errors
    /// When the working directory, the store or the keys cannot be used.
    pub async fn open(config: &Config) -> Result<Self> {
        let workdir = Workdir::open(&config.workdir)?;
        let store: Arc<dyn Store> = Arc::new(SledStore::open(workdir.path())?);
        let (keyring, vault) = build::open_keys(config, workdir.path(), &*store).await?;
        let services = build::services(config, store, vault, build::blocklist(config)?)?;
        Ok(Self {
            operator: Operator {
                services: Arc::new(services),
                keyring,
                is_serving: false,
                events: None,
            },
            _workdir: workdir,
        })
    }

    /// Runs a command of the caller `by`. An export goes to `lines`.
    pub async fn run(&self, command: AdminCommand, by: &Caller, lines: &Lines) -> Answer {
        let result = self.operator.run(command, by, lines).await;
        result.map_err(|error| error.to_string())
    }
}
