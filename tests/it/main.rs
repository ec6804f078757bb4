//! The single integration-test binary: one module per subject, linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic fails the test and names the line"
)]

mod admin;
mod architecture;
mod audit;
mod call;
mod completions;
mod contract;
mod decode_oracle;
mod docs;
mod durability;
mod events;
mod flood;
mod guides;
mod lifecycle;
mod memory;
mod need_rust;
mod password_cost;
mod races;
mod redis_access;
#[path = "../common/redis_process.rs"]
mod redis_process;
mod sealing;
mod second_factor;
mod secrecy;
mod session_limits;
mod sled_files;
mod smoke;
#[path = "../common/store_changes.rs"]
mod store_changes;
mod store_conformance;
mod support;
mod throttle;
mod transfer;
