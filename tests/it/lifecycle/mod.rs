//! Start, shutdown and failures of the process: signals, `kill -9`, outages of Redis, a disk that
//! hangs. No request is lost.

mod crash;
mod log;
mod long_replies;
mod lost_answers;
mod memory;
mod obstacles;
mod panics;
mod redis_away;
mod refused_replies;
mod shutdown;
mod start;
mod systemd;

use crate::support::{Load, Setup};

/// One hashing thread, and hashes so expensive (some 100 ms) that a load is
/// never finished when a test acts.
const BUSY: &[(&str, &str)] = &[
    ("PASSWORD__THREADS", "1"),
    ("PASSWORD__MEMORY_KIB", "1024"),
    ("PASSWORD__ITERATIONS", "10"),
    ("REPLY_TTL", "3600"),
];
/// Same, at a tenth of the cost, for tests that wait for the complete load.
const LESS_BUSY: &[(&str, &str)] = &[
    ("PASSWORD__THREADS", "1"),
    ("PASSWORD__MEMORY_KIB", "1024"),
    ("PASSWORD__ITERATIONS", "1"),
    ("REPLY_TTL", "3600"),
];
/// A hash that does not end while the test runs.
const ENDLESS: (&str, &str) = ("PASSWORD__ITERATIONS", "4000000000");
/// Hashes that cost next to nothing.
const CHEAP: &[(&str, &str)] = &[("PASSWORD__MEMORY_KIB", "8"), ("PASSWORD__ITERATIONS", "1")];

/// Pushes a load of this length and waits until the third login in it is answered: the rest of the
/// load is still in flight or in the queue.
fn under_load(mut setup: Setup, length: usize) -> (Setup, Load) {
    let load = Load::new(&setup.session_of_alice(), length);
    load.push(&mut setup.client);
    setup.client.await_reply(load.logins()[2]);
    (setup, load)
}
