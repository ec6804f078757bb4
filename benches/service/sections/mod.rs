//! What is measured, one file for each.

pub mod build;
pub mod hostile;
pub mod idle;
pub mod large;
pub mod listing;
pub mod mutations;
pub mod passwords;
pub mod platypush;
pub mod sessions;
