//! The result of reading a node.

use crate::transfer::{ImportedUser, Skipped};

/// Users and other records of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeContents {
    /// Users that can be imported. Their ids and those of their API tokens are 0: the import
    /// assigns them.
    pub users: Vec<ImportedUser>,
    /// Records that cannot be imported.
    pub skipped: Vec<Skipped>,
}

/// Progress of reading a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadProgress {
    /// Number of users that were read.
    pub done: usize,
    /// Number of all users.
    pub total: usize,
}
