//! Named points at which a test build ends the process, to show that the next
//! start finds everything. In a release build they are nothing.

/// Ends the process here when the environment says so:
/// `USERD_CRASH_AT=<point>:<n>` at the n-th time this point is reached.
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
    if let Some((name, left)) = armed
        && name == point
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
#[inline]
pub const fn crash_point(_: &str) {}

/// Ends the process when a request for `user.crash` is about to run and the
/// environment says `USERD_POISON=1`: a request that kills whoever runs it.
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

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
#[inline]
pub const fn poison(_: Option<&str>) {}
