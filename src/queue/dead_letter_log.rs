//! Dead letters in the log, at a bounded rate: anybody can make them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// Dead letters are announced at most this often.
const REPEAT: Duration = Duration::from_secs(10);

/// Shared by all that make dead letters.
#[derive(Default)]
pub(super) struct DeadLetterLog(Mutex<State>);

#[derive(Default)]
struct State {
    last: Option<Instant>,
    silent: u64,
}

impl DeadLetterLog {
    /// Notes that so many messages became dead letters.
    pub(super) fn note(&self, count: u64, reason: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|at| at.elapsed() < REPEAT) {
            state.silent += count;
            return;
        }
        state.last = Some(Instant::now());
        let silent = std::mem::take(&mut state.silent);
        drop(state);
        warn!(
            reason,
            count,
            and_before = silent,
            "messages became dead letters"
        );
    }
}
