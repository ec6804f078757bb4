//! Micro-benchmarks of single components: `cargo bench --bench micro`, with a filter for names
//! after `--`.
//!
//! `benches/service` measures the whole daemon; these benchmarks show which component has become
//! slower. No log subscriber is installed, so the figures do not include logging.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot continue panics and names the line"
)]

mod decode;
mod dispatch;
mod encode;
mod password;
mod requests;
mod stage;
mod store;
#[path = "../../tests/common/store_changes.rs"]
mod store_changes;

fn main() {
    divan::main();
}
