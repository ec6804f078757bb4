//! The sections of the benchmark, one file each.

pub mod build;
pub mod hostile;
pub mod idle;
pub mod large;
pub mod listing;
pub mod mutations;
pub mod passwords;
pub mod platypush;
pub mod sessions;
