//! The wire contract: bytes to requests, outcomes to bytes. Pure functions;
//! nothing here knows Redis, the store or an action.

pub mod dead_letter;
mod id;
pub(crate) mod json;
pub mod literal;
pub mod reply;
pub mod request;

pub use self::id::RequestId;
