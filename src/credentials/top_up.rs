//! Makes the check of a record that is cheaper than today's take as long as
//! any other: users who have not logged in since the cost was raised would
//! stand out among names that nobody has.
//!
//! Missing is not only work but time, and memory that fits into a cache is
//! faster. So what is missing for each cost that turns up is measured, once,
//! in pieces of work: unlike a wait, they slow down with the machine as the
//! hash itself does.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::error::HasherError;
use super::imported;
use super::password::{Cost, Memory, spend};

/// The smallest piece of work.
const PIECE: Cost = Cost::new(32, 1, 1);
/// As many of them as can be timed.
const MANY_PIECES: u32 = 64;
/// How often each time is taken; the shortest one counts.
const ROUNDS: usize = 15;

/// What the check of a record costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Work {
    /// One of ours.
    Argon2(Cost),
    /// One of another kind.
    Imported(imported::Work),
}

impl Work {
    /// KiB that are gone through, or would be in that time.
    fn kib(self) -> u64 {
        match self {
            Self::Argon2(cost) => cost.work(),
            Self::Imported(work) => work.kib_estimate(),
        }
    }

    fn spend(self, memory: &mut Memory) -> Result<(), HasherError> {
        match self {
            Self::Argon2(cost) => spend(cost, memory),
            Self::Imported(work) => {
                work.spend();
                Ok(())
            }
        }
    }
}

/// What is done on top of the check of records of other costs.
pub(super) struct TopUp {
    today: Cost,
    missing: Mutex<HashMap<Work, Missing>>,
}

/// What a record's check lacks to today's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Missing {
    /// Whole passes over today's memory…
    passes: u32,
    /// …and pieces for the rest.
    pieces: u32,
}

impl TopUp {
    pub(super) fn new(today: Cost) -> Self {
        Self {
            today,
            missing: Mutex::default(),
        }
    }

    /// Does what a check at that cost lacks. `true` when the cost was seen for
    /// the first time, and what is missing only estimated: it is to be
    /// measured then.
    pub(super) fn spend_missing(&self, of: Work, memory: &mut Memory) -> Result<bool, HasherError> {
        // Of another kind, only the time tells.
        if matches!(of, Work::Argon2(cost) if cost.work() >= self.today.work()) {
            return Ok(false);
        }
        let known = self.lock().get(&of).copied();
        let missing = known.unwrap_or_else(|| self.estimate(of));
        self.spend_passes(missing.passes, memory)?;
        spend_pieces(missing.pieces, memory)?;
        // Of several that see it first, one measures.
        Ok(known.is_none() && self.lock().insert(of, missing).is_none())
    }

    /// Measures what a check at that cost lacks in time.
    pub(super) fn measure(&self, of: Work, memory: &mut Memory) -> Result<(), HasherError> {
        let Missing {
            passes,
            pieces: estimate,
        } = self.estimate(of);
        let [mut whole, mut part, mut pieces] = [Duration::MAX; 3];
        for _ in 0..ROUNDS {
            whole = whole.min(time(|| spend(self.today, memory))?);
            part = part.min(time(|| {
                of.spend(memory)?;
                self.spend_passes(passes, memory)
            })?);
            pieces = pieces.min(time(|| spend_pieces(MANY_PIECES, memory))?);
            if part > whole * 2 {
                // Far dearer: there is nothing missing, and no more to be spent on it.
                break;
            }
        }
        let pieces = whole.saturating_sub(part).as_secs_f64() * f64::from(MANY_PIECES)
            / pieces.as_secs_f64().max(1e-9);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast of a positive float saturates"
        )]
        let pieces = pieces.round() as u32;
        // Caches do not make more of a difference than a tenth; a bad measurement may. For
        // another kind the estimate is that of another machine.
        let far = match of {
            Work::Argon2(_) => self.today.work() / 10,
            Work::Imported(_) => self.today.work(),
        };
        let far = u32::try_from(far / PIECE.work()).unwrap_or(u32::MAX);
        let pieces = pieces.clamp(estimate.saturating_sub(far), estimate.saturating_add(far));
        tracing::debug!(?of, passes, pieces, "measured what cheaper records lack");
        self.lock().insert(of, Missing { passes, pieces });
        Ok(())
    }

    /// What is missing in work.
    fn estimate(&self, of: Work) -> Missing {
        let memory = u64::from(self.today.memory_kib());
        let missing = self.today.work().saturating_sub(of.kib());
        // Less than a thousandth of a pass too much is a pass still.
        let passes = (missing + memory / 1_000) / memory;
        let pieces = missing.saturating_sub(passes * memory) / PIECE.work();
        let clamp = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Missing {
            passes: clamp(passes),
            pieces: clamp(pieces),
        }
    }

    fn spend_passes(&self, passes: u32, memory: &mut Memory) -> Result<(), HasherError> {
        if passes == 0 {
            return Ok(());
        }
        spend(
            Cost::new(self.today.memory_kib(), passes, self.today.lanes()),
            memory,
        )
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Work, Missing>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spend_pieces(pieces: u32, memory: &mut Memory) -> Result<(), HasherError> {
    (0..pieces).try_for_each(|_| spend(PIECE, memory))
}

/// Processor time: on a busy machine other threads interrupt long work far
/// more than short work, which would make the pieces seem too small.
fn time(work: impl FnOnce() -> Result<(), HasherError>) -> Result<Duration, HasherError> {
    let start = processor_time();
    work()?;
    Ok(processor_time().saturating_sub(start))
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Cost = Cost::new(1_024, 2, 1);

    fn missing(of: Cost) -> Option<Missing> {
        let of = Work::Argon2(of);
        let top_up = TopUp::new(TODAY);
        top_up.spend_missing(of, &mut Memory::default()).unwrap();
        top_up.lock().get(&of).copied()
    }

    #[test]
    fn what_costs_as_much_or_more_lacks_nothing() {
        for enough in [TODAY, Cost::new(512, 4, 1), Cost::new(1_024, 3, 1)] {
            assert_eq!(missing(enough), None, "{enough:?}");
        }
    }

    #[test]
    fn what_costs_less_is_brought_to_the_same_work() {
        for (of, passes, pieces) in [((1_024, 1), 1, 0), ((512, 3), 0, 16), ((992, 1), 1, 1)] {
            let of = Cost::new(of.0, of.1, 1);
            assert_eq!(missing(of), Some(Missing { passes, pieces }), "{of:?}");
        }
    }

    #[test]
    fn a_cost_is_new_once() {
        let top_up = TopUp::new(TODAY);
        let memory = &mut Memory::default();
        let of = Work::Argon2(Cost::new(8, 1, 1));
        assert!(top_up.spend_missing(of, memory).unwrap());
        assert!(!top_up.spend_missing(of, memory).unwrap());
    }

    #[test]
    fn measuring_keeps_the_passes_and_corrects_the_pieces() {
        let top_up = TopUp::new(TODAY);
        let of = Work::Argon2(Cost::new(512, 1, 1));
        // Far from anything that can be measured.
        let wrong = Missing {
            passes: 7,
            pieces: u32::MAX,
        };
        top_up.lock().insert(of, wrong);
        top_up.measure(of, &mut Memory::default()).unwrap();
        let Missing { passes, pieces } = top_up.lock()[&of];
        assert_eq!(passes, 1);
        assert!(pieces <= 16 + 6, "{pieces}");
    }

    /// However the estimate of another machine is off.
    #[test]
    fn what_was_imported_is_measured_without_bounds_of_the_estimate() {
        let top_up = TopUp::new(TODAY);
        let memory = &mut Memory::default();
        let cheap = Work::Imported(imported::Work::Pbkdf2 { iterations: 1 });
        let dear = Work::Imported(imported::Work::Bcrypt { cost: 11 });
        for work in [cheap, dear] {
            assert!(top_up.spend_missing(work, memory).unwrap());
            top_up.measure(work, memory).unwrap();
        }
        let pieces = |work| {
            let Missing { passes, pieces } = top_up.lock()[&work];
            u64::from(passes) * TODAY.memory_kib() as u64 / PIECE.work() + u64::from(pieces)
        };
        // Nearly all of today's work, and none of it.
        assert!(
            pieces(cheap) > TODAY.work() / PIECE.work() / 2,
            "{}",
            pieces(cheap)
        );
        assert_eq!(pieces(dear), 0);
    }
}
