//! The table of the error types that have a remedy.

use crate::config::Problems;
use crate::control::ControlError;
use crate::credentials::BlocklistError;
use crate::failure::{HasRemedy, Remedy};
use crate::keyring::KeyringError;
use crate::redis::ConnectorError;
use crate::rotation::RotationError;
use crate::store::StoreError;
use crate::store::sled::OpenError;
use crate::workdir::WorkdirError;

/// Returns the remedy of an error, or [`Remedy::Restart`] if its type is not in the table.
#[must_use]
pub fn remedy(error: &anyhow::Error) -> Remedy {
    let table = [
        remedy_of::<Problems>,
        remedy_of::<ConnectorError>,
        remedy_of::<WorkdirError>,
        remedy_of::<OpenError>,
        remedy_of::<KeyringError>,
        remedy_of::<RotationError>,
        remedy_of::<ControlError>,
        remedy_of::<BlocklistError>,
        remedy_of::<StoreError>,
    ];
    let known = table.iter().find_map(|remedy| remedy(error));
    known.unwrap_or(Remedy::Restart)
}

fn remedy_of<E>(error: &anyhow::Error) -> Option<Remedy>
where
    E: HasRemedy + std::error::Error + Send + Sync + 'static,
{
    error.downcast_ref::<E>().map(HasRemedy::remedy)
}

#[cfg(test)]
mod tests;
