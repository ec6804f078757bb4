//! Named points at which a test can crash the process, to show that the next start recovers.
//! They do nothing in a release build.

use std::env;
use std::process::abort;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Aborts the process when this point is reached for the n-th time, if the environment has
/// `USERD_CRASH_AT=<point>:<n>`. Does nothing in a release build.
#[inline]
pub fn crash_point(point: &str) {
    static ARMED: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let text = env::var("USERD_CRASH_AT").ok()?;
        let (point, times) = text.split_once(':')?;
        Some((point.to_owned(), AtomicU32::new(times.parse().ok()?)))
    });
    if cfg!(debug_assertions)
        && let Some((name, remaining)) = &*ARMED
        && name == point
        && remaining.fetch_sub(1, Ordering::Relaxed) == 1
    {
        abort();
    }
}

/// Aborts the process before a request for `user.crash` runs, if the environment has
/// `USERD_POISON=1`: a poison request. Does nothing in a release build.
#[inline]
pub fn poison(action: Option<&str>) {
    static ARMED: LazyLock<bool> =
        LazyLock::new(|| env::var("USERD_POISON").is_ok_and(|value| value == "1"));
    if cfg!(debug_assertions) && action == Some("user.crash") && *ARMED {
        abort();
    }
}
