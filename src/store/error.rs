//! Errors of the store.

use std::path::PathBuf;

use crate::failure::{HasRemedy, Remedy};

/// Error of a store operation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The precondition no longer holds; nothing was changed.
    #[error("what was read to decide has changed meanwhile")]
    Conflict,
    /// A user with that name exists; nothing was changed.
    #[error("a user of that name exists")]
    NameTaken,
    /// The user has an API token with that name; nothing was changed.
    #[error("an API token of that name exists")]
    ApiTokenNameTaken,
    /// The user has the maximum number of API tokens; nothing was changed.
    #[error("there are too many API tokens")]
    TooManyApiTokens,
    /// No user has that name; nothing was changed.
    #[error("there is no user of that name")]
    NoSuchUser,
    /// The disk has too little free space to write safely; nothing was changed.
    #[error(
        "the disk that holds {path} is full ({free_mib} MiB free, {needed_mib} MiB needed): free some space; nothing was changed", path = path.display()
    )]
    DiskFull {
        /// The database folder.
        path: PathBuf,
        /// Free space in MiB.
        free_mib: u64,
        /// Minimum free space in MiB for a write.
        needed_mib: u64,
    },
    /// An import was interrupted and rolled back.
    #[error("the import was interrupted")]
    Interrupted,
    /// The writer has stopped. Whether the operation took effect is unknown until the next start
    /// reads the disk, so the request must not be answered.
    #[error("the database writer has stopped")]
    Stopped,
    /// The engine failed while reading.
    #[error("the database failed: {0}")]
    Engine(String),
}

impl HasRemedy for StoreError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::DiskFull { .. } => Remedy::Wait,
            Self::Conflict
            | Self::Interrupted
            | Self::NameTaken
            | Self::ApiTokenNameTaken
            | Self::TooManyApiTokens
            | Self::NoSuchUser
            | Self::Stopped
            | Self::Engine(_) => Remedy::Restart,
        }
    }
}
