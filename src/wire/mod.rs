//! The wire format: decodes requests, and encodes replies and dead letters. All functions are pure,
//! and independent of Redis, the store and the actions.

pub mod dead_letter;
mod id;
pub(crate) mod json;
pub mod literal;
pub mod reply;
pub mod request;

pub use self::id::RequestId;
