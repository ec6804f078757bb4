//! The wire contract: bytes to requests, outcomes to bytes. Pure functions;
//! nothing here knows Redis, the store or an action.

pub mod literal;
