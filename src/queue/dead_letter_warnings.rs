//! Logs dead letters at a bounded rate: any client can cause them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// Minimum interval between log lines.
const REPEAT: Duration = Duration::from_secs(10);

/// Shared by the fetcher and the acker.
#[derive(Default)]
pub(super) struct DeadLetterWarnings(Mutex<State>);

#[derive(Default)]
struct State {
    last: Option<Instant>,
    unlogged: u64,
}

impl DeadLetterWarnings {
    /// Records that this number of messages became dead letters.
    pub(super) fn note(&self, count: u64, reason: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|at| at.elapsed() < REPEAT) {
            state.unlogged += count;
            return;
        }
        state.last = Some(Instant::now());
        let unlogged = std::mem::take(&mut state.unlogged);
        drop(state);
        warn!(
            reason,
            count,
            and_before = unlogged,
            "messages became dead letters"
        );
    }
}
