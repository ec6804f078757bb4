//! Import and export of users.
//!
//! `platypush` reads the users of a Platypush node, and `jsonl` reads a file that `export` has
//! written. Both return [`ImportedUser`]s, which cross a socket or pipe of the same machine as JSON
//! ([`ImportedUserRecord`]) and are imported by `import`. Only the readers know a foreign format.
//!
//! # One batch
//!
//! An import is one `ImportRequest`, all or nothing. `import` assigns the ids before the store has
//! the users, because secrets are sealed under them. The store compares that the ids are still the
//! next ones, and `import` decides again if they are not.
//!
//! A user that was imported before is recognized by its `Origin`, the fingerprint of its row on the
//! node. The store keeps the origin after the user is deleted.

pub mod export;
pub mod import;
mod imported_user;
pub mod jsonl;
pub mod platypush;
mod skipped;

pub use self::imported_user::{ImportedUser, ImportedUserRecord};
pub use self::skipped::{CellError, Location, RecordKind, SkipReason, Skipped};
