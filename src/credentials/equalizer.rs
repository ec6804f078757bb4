//! Makes the check of any record take as long as one at today's cost. Without it, users who have
//! not logged in since the cost was raised, or whose hash a node made, stand out among unknown
//! names (OWASP ASVS 5.0, 6.3.8).
//!
//! A cheaper check is followed by work until it has taken as much processor time as one of the
//! recent checks at today's cost, drawn at random: so the times of both vary alike. It is work
//! instead of a wait, because a wait ends on time while hashes slow down. What remains is that the
//! recent checks may have met another load than the present one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::error::HasherError;
use super::password::{Cost, Memory, spend};
use crate::random;

/// The smallest unit of work: some tens of microseconds.
const PIECE: Cost = Cost::new(32, 1, 1);
/// Number of recent checks: enough to show how they vary, few enough to follow the load.
const RECENT: usize = 32;
/// Number of recent checks below which a cheaper one is followed by a measurement.
const ENOUGH: usize = 4;

/// Equalizes the time of checks.
pub(super) struct Equalizer {
    today: Cost,
    recent: Mutex<Recent>,
}

/// Processor times of the last checks at today's cost.
#[derive(Default)]
struct Recent(VecDeque<Duration>);

impl Recent {
    fn add(&mut self, time: Duration) {
        self.0.truncate(RECENT - 1);
        self.0.push_front(time);
    }

    /// Draws a time at random: in any order, clients that send checks of both kinds could tell which
    /// one comes next.
    fn draw(&self) -> Result<Option<Duration>, HasherError> {
        let [random] = random::bytes()?;
        let index = usize::from(random).checked_rem(self.0.len());
        Ok(index.and_then(|index| self.0.get(index).copied()))
    }
}

impl Equalizer {
    pub(super) fn new(today: Cost) -> Self {
        Self {
            today,
            recent: Mutex::default(),
        }
    }

    /// Runs a check, which returns its cost where that is Argon2's, and equalizes its time. A
    /// dearer check takes longer. Returns as well whether there are too few recent times for that,
    /// so that one more should be measured.
    pub(super) fn run<T>(
        &self,
        memory: &mut Memory,
        check: impl FnOnce(&mut Memory) -> Result<(T, Option<Cost>), HasherError>,
    ) -> Result<(T, bool), HasherError> {
        // Touching new memory takes time, the more the larger it is.
        memory.prepare(self.today)?;
        let start = processor_time();
        let (result, cost) = check(memory)?;
        if cost == Some(self.today) {
            self.recent().add(since(start));
            return Ok((result, false));
        }
        let drawn = self.recent().draw()?;
        let target = match drawn {
            Some(time) => time,
            None => self.measure(memory)?,
        };
        while since(start) < target {
            spend(PIECE, memory)?;
        }
        Ok((result, self.recent().0.len() < ENOUGH))
    }

    /// Measures a check at today's cost, where there were few yet in this run.
    pub(super) fn measure(&self, memory: &mut Memory) -> Result<Duration, HasherError> {
        let start = processor_time();
        spend(self.today, memory)?;
        let time = since(start);
        self.recent().add(time);
        Ok(time)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Processor time of this thread: on a busy machine other threads take their share of any work.
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

    const TODAY: Cost = Cost::new(64, 2, 1);

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
        let equalizer = Equalizer::new(TODAY);
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

    /// Where each check at today's cost was followed by a cheaper one, the same time came up 32 times.
    #[test]
    fn any_of_the_recent_times_may_come_next() {
        let mut recent = Recent::default();
        let mut drawn = HashSet::new();
        for micros in 0..64 {
            recent.add(Duration::from_micros(micros));
            if micros >= 32 {
                drawn.insert(recent.draw().unwrap());
            }
        }
        // The chance that all are the same is below 10^-40.
        assert!(drawn.len() > 1, "{drawn:?}");
        assert!(!drawn.contains(&None));
    }

    #[test]
    fn only_checks_at_todays_cost_set_the_time() {
        let equalizer = Equalizer::new(TODAY);
        let others = [Some(Cost::new(64, 3, 1)), Some(Cost::new(8, 1, 1)), None];
        let measured = after(&equalizer, &others);
        assert_eq!(measured.len(), 1, "measured once, by the first of them");
        assert_eq!(after(&equalizer, &[Some(TODAY)]).len(), 2);
        assert_eq!(after(&equalizer, &[Some(TODAY); 40]).len(), RECENT);
        assert_ne!(after(&equalizer, &[]).last(), measured.first());
    }
}
