//! Equalizes the time of password checks: a check of any record takes as long as one at the current
//! cost. Without it, users who have not logged in since the cost was raised, or whose hash was
//! imported from a node, stand out among unknown names (OWASP ASVS 5.0, 6.3.8).
//!
//! A cheaper check is followed by work until it has taken as much processor time as one of the
//! recent checks at the current cost, drawn at random, so that the times of both vary alike. Work
//! is used instead of a sleep, because a sleep ends on time while hashes slow down under load. A
//! difference remains if the recent checks ran under another load than the present one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::hasher::HasherError;
use super::password::{Cost, Memory, spend};
use crate::random;

/// Smallest unit of work, some tens of microseconds.
const WORK_UNIT: Cost = Cost::new(32, 1, 1);
/// Number of recent checks: enough to show how they vary, few enough to follow the load.
const RECENT: usize = 32;
/// Number of recent checks below which a cheaper check is followed by a measurement.
const MIN_RECENT: usize = 4;

/// Equalizes the time of checks.
pub(super) struct Equalizer {
    current_cost: Cost,
    recent: Mutex<Recent>,
}

/// Processor times of the last checks at the current cost.
#[derive(Default)]
struct Recent(VecDeque<Duration>);

impl Recent {
    fn add(&mut self, time: Duration) {
        self.0.truncate(RECENT - 1);
        self.0.push_front(time);
    }

    /// Draws a time at random. In a fixed order, a client that sends checks of both kinds could
    /// predict the next one.
    fn draw(&self) -> Result<Option<Duration>, HasherError> {
        let [random] = random::bytes()?;
        let index = usize::from(random).checked_rem(self.0.len());
        Ok(index.and_then(|index| self.0.get(index).copied()))
    }
}

impl Equalizer {
    pub(super) fn new(current_cost: Cost) -> Self {
        Self {
            current_cost,
            recent: Mutex::default(),
        }
    }

    /// Runs a check and equalizes its time. The check returns its cost if it used Argon2; a check
    /// at a higher cost takes longer. Also returns whether there are too few recent times, so that
    /// the caller should measure one more.
    pub(super) fn run<T>(
        &self,
        memory: &mut Memory,
        check: impl FnOnce(&mut Memory) -> Result<(T, Option<Cost>), HasherError>,
    ) -> Result<(T, bool), HasherError> {
        // The first access to new memory takes time, in proportion to its size.
        memory.prepare(self.current_cost)?;
        let start = processor_time();
        let (result, cost) = check(memory)?;
        if cost == Some(self.current_cost) {
            self.recent().add(since(start));
            return Ok((result, false));
        }
        let drawn = self.recent().draw()?;
        let target = match drawn {
            Some(time) => time,
            None => self.measure(memory)?,
        };
        while since(start) < target {
            spend(WORK_UNIT, memory)?;
        }
        Ok((result, self.recent().0.len() < MIN_RECENT))
    }

    /// Measures a check at the current cost, for a process that has run few of them.
    pub(super) fn measure(&self, memory: &mut Memory) -> Result<Duration, HasherError> {
        let start = processor_time();
        spend(self.current_cost, memory)?;
        let time = since(start);
        self.recent().add(time);
        Ok(time)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the processor time of this thread, which excludes the time that other threads take on a
/// busy machine.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn since(start: Duration) -> Duration {
    processor_time().saturating_sub(start)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const CURRENT: Cost = Cost::new(64, 2, 1);

    /// Returns the recent times after checks of these costs.
    fn after(equalizer: &Equalizer, costs: &[Option<Cost>]) -> Vec<Duration> {
        for cost in costs {
            let check = |_: &mut Memory| Ok(((), *cost));
            equalizer.run(&mut Memory::default(), check).unwrap();
        }
        equalizer.recent().0.iter().copied().collect()
    }

    #[test]
    fn a_cheaper_check_takes_as_long_as_a_recent_one() {
        let equalizer = Equalizer::new(CURRENT);
        let recent = Duration::from_millis(5);
        equalizer.recent().add(recent);
        let memory = &mut Memory::default();
        for cost in [Some(Cost::new(8, 1, 1)), None] {
            let start = processor_time();
            equalizer.run(memory, |_| Ok(((), cost))).unwrap();
            assert!(since(start) >= recent, "{cost:?}");
        }
        assert_eq!(after(&equalizer, &[]), [recent]);
    }

    /// Regression: with checks at the current and at a lower cost in turn, the same time was drawn
    /// 32 times.
    #[test]
    fn any_of_the_recent_times_may_be_drawn() {
        let mut recent = Recent::default();
        let mut drawn = HashSet::new();
        for micros in 0..64 {
            recent.add(Duration::from_micros(micros));
            if micros >= 32 {
                drawn.insert(recent.draw().unwrap());
            }
        }
        // The probability that all are equal is below 10^-40.
        assert!(drawn.len() > 1, "{drawn:?}");
        assert!(!drawn.contains(&None));
    }

    #[test]
    fn only_checks_at_the_current_cost_are_recorded() {
        let equalizer = Equalizer::new(CURRENT);
        let others = [Some(Cost::new(64, 3, 1)), Some(Cost::new(8, 1, 1)), None];
        let measured = after(&equalizer, &others);
        assert_eq!(measured.len(), 1, "measured once, after the first check");
        assert_eq!(after(&equalizer, &[Some(CURRENT)]).len(), 2);
        assert_eq!(after(&equalizer, &[Some(CURRENT); 40]).len(), RECENT);
        assert_ne!(after(&equalizer, &[]).last(), measured.first());
    }
}
