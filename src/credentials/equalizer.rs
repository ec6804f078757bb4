//! Makes the check of any record take as long as one at today's cost. Without it, users who have
//! not logged in since the cost was raised, or whose hash a node made, stand out among unknown
//! names (OWASP ASVS 5.0, 6.3.8).
//!
//! A cheaper check is followed by work until it has taken as much processor time as one of the
//! recent checks at today's cost, each in turn: so the times of both vary alike, on any machine and
//! under any load. It is work instead of a wait, because a wait ends on time while hashes slow down.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::error::HasherError;
use super::password::{Cost, Memory, spend};

/// The smallest unit of work: some tens of microseconds.
const PIECE: Cost = Cost::new(32, 1, 1);
/// Number of recent checks: enough to show how they vary, few enough to follow the load.
const RECENT: usize = 32;

/// Equalizes the time of checks.
pub(super) struct Equalizer {
    today: Cost,
    recent: Mutex<Recent>,
}

/// Processor times of the last checks at today's cost.
#[derive(Default)]
struct Recent {
    times: VecDeque<Duration>,
    /// Counts the times that were drawn.
    drawn: usize,
}

impl Recent {
    fn add(&mut self, time: Duration) {
        self.times.truncate(RECENT - 1);
        self.times.push_front(time);
    }

    fn draw(&mut self) -> Option<Duration> {
        self.drawn = self.drawn.wrapping_add(1);
        let index = self.drawn.checked_rem(self.times.len())?;
        self.times.get(index).copied()
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
    /// dearer check takes longer.
    pub(super) fn run<T>(
        &self,
        memory: &mut Memory,
        check: impl FnOnce(&mut Memory) -> Result<(T, Option<Cost>), HasherError>,
    ) -> Result<T, HasherError> {
        // Touching new memory takes time, the more the larger it is.
        memory.prepare(self.today)?;
        let start = processor_time();
        let (result, cost) = check(memory)?;
        if cost == Some(self.today) {
            self.recent().add(since(start));
            return Ok(result);
        }
        let drawn = self.recent().draw();
        let target = match drawn {
            Some(time) => time,
            None => self.measure(memory)?,
        };
        while since(start) < target {
            spend(PIECE, memory)?;
        }
        Ok(result)
    }

    /// Measures a check at today's cost, when there was none yet in this run.
    fn measure(&self, memory: &mut Memory) -> Result<Duration, HasherError> {
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
    use super::*;

    const TODAY: Cost = Cost::new(64, 2, 1);

    /// Returns the recent times after checks of these costs.
    fn after(equalizer: &Equalizer, costs: &[Option<Cost>]) -> Vec<Duration> {
        for cost in costs {
            let check = |_: &mut Memory| Ok(((), *cost));
            equalizer.run(&mut Memory::default(), check).unwrap();
        }
        equalizer.recent().times.iter().copied().collect()
    }

    #[test]
    fn a_cheaper_check_takes_as_long_as_the_recent_ones_in_turn() {
        let equalizer = Equalizer::new(TODAY);
        let recent = [7, 3].map(Duration::from_millis);
        for time in recent {
            equalizer.recent().add(time);
        }
        let memory = &mut Memory::default();
        for cost in [Some(Cost::new(8, 1, 1)), None] {
            for target in recent {
                let start = processor_time();
                equalizer.run(memory, |_| Ok(((), cost))).unwrap();
                assert!(since(start) >= target, "{cost:?}");
            }
        }
        assert_eq!(after(&equalizer, &[]).len(), 2);
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
