//! The one integration-test binary: a module for each subject, linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails, and says where"
)]

mod admin;
mod audit;
mod call;
mod completions;
mod contract;
mod decode_oracle;
mod durability;
mod events;
mod flood;
mod lifecycle;
mod memory;
mod need_rust;
mod password_cost;
mod races;
mod readme;
mod redis_access;
#[path = "../common/redis_process.rs"]
mod redis_process;
mod sealing;
mod second_factor;
mod secrecy;
mod session_limits;
mod sled_files;
mod smoke;
mod store_conformance;
mod support;
mod throttle;
mod transfer;
