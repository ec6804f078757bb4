//! The life of the process: it is asked to end, it is killed, Redis goes and
//! comes back, the disk hangs. No request is lost.

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
/// always under way.
const BUSY: &[(&str, &str)] = &[
    ("PASSWORD__THREADS", "1"),
    ("PASSWORD__MEMORY_KIB", "1024"),
    ("PASSWORD__ITERATIONS", "10"),
    ("REPLY_TTL", "3600"),
];
/// The same at a tenth of the cost, where a test waits for all of the load.
const LESS_BUSY: &[(&str, &str)] = &[
    ("PASSWORD__THREADS", "1"),
    ("PASSWORD__MEMORY_KIB", "1024"),
    ("PASSWORD__ITERATIONS", "1"),
    ("REPLY_TTL", "3600"),
];
/// A hash under way does not end while the test runs.
const ENDLESS: (&str, &str) = ("PASSWORD__ITERATIONS", "4000000000");
/// Hashes that cost next to nothing.
const CHEAP: &[(&str, &str)] = &[("PASSWORD__MEMORY_KIB", "8"), ("PASSWORD__ITERATIONS", "1")];

/// A daemon with these settings that works on a load of this length: some of
/// it is answered, and for the rest it has neither time nor reason.
fn under_load(mut setup: Setup, length: usize) -> (Setup, Load) {
    let load = Load::new(&setup.session_of_alice(), length);
    load.push(&mut setup.client);
    setup.client.await_reply(load.logins()[2]);
    (setup, load)
}
