//! `platypush-userd`: the `user.*` actions of Platypush as a service.
//! `ARCHITECTURE.md` describes the modules and the path of a request.

// `println!` and `eprintln!` panic if the output cannot be written: use `cli::complain` instead.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod actions;
pub mod admin;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
mod crash_point;
pub mod credentials;
pub mod daemon;
pub mod dispatch;
pub mod error;
pub mod events;
pub mod failure;
pub mod keyring;
pub mod lifecycle;
mod log_quota;
pub mod model;
mod priority;
pub mod queue;
pub mod random;
pub mod redis;
pub mod rotation;
pub mod services;
pub mod store;
mod sweeper;
pub mod text;
pub mod transfer;
pub mod value;
pub mod wire;
pub mod workdir;
