//! Named points at which a test can crash the process, to show that the next start recovers.
//! They do nothing in a release build.

/// Aborts the process when this point is reached for the n-th time, if the environment has
/// `USERD_CRASH_AT=<point>:<n>`.
#[cfg(debug_assertions)]
pub fn crash_point(point: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ARMED: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("USERD_CRASH_AT").ok()?;
        let (point, times) = text.split_once(':')?;
        Some((point.to_owned(), AtomicU32::new(times.parse().ok()?)))
    });
    if let Some((name, remaining)) = armed
        && name == point
        && remaining.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline]
pub const fn crash_point(_: &str) {}

/// Aborts the process before a request for `user.crash` runs, if the environment has
/// `USERD_POISON=1`: a poison request.
#[cfg(debug_assertions)]
pub fn poison(action: Option<&str>) {
    use std::sync::OnceLock;

    static ARMED: OnceLock<bool> = OnceLock::new();
    if action == Some("user.crash")
        && *ARMED.get_or_init(|| std::env::var("USERD_POISON").is_ok_and(|value| value == "1"))
    {
        std::process::abort();
    }
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline]
pub const fn poison(_: Option<&str>) {}
