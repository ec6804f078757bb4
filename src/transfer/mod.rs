//! Users on their way from one place to another. Who reads knows one foreign
//! format; who lets them in knows none.
//!
//! `platypush` reads a node, `jsonl` what `export` has written; either gives
//! people, who cross a socket or pipe on the same machine as JSON (`person`),
//! and `importer` lets them in.

pub mod export;
pub mod import;
pub mod jsonl;
mod left_behind;
mod person;
pub mod platypush;

pub use self::left_behind::{LeftBehind, Location, Oddity, What, Why};
pub use self::person::{Person, PersonRecord};
