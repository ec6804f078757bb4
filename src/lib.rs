//! `platypush-userd`: the `user.*` actions of Platypush as a service of their
//! own. `ARCHITECTURE.md` shows the rooms and which way a request walks.

pub mod config;
pub mod value;
pub mod wire;
