//! What the parts cost, each by itself: `cargo bench --bench micro`, or with a
//! part of a name behind `--` only those.
//!
//! The whole daemon is measured by `benches/service`; these tell which part of
//! it has become slower. Nothing listens to what is logged, so logging is not
//! in here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on fails, and says where"
)]

mod decode;
mod dispatch;
mod encode;
mod password;
mod requests;
mod stage;
mod store;

fn main() {
    divan::main();
}
