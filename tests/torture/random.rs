//! Seeded random number generator (SplitMix64).

use std::time::Duration;

#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns an independent generator for one part of the work, seeded by `name`.
    pub fn part(&self, name: &str) -> Self {
        let mut part = Self(self.0);
        for byte in name.bytes() {
            part.0 ^= u64::from(byte);
            part.next();
        }
        part
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(self.next() % end.max(1)).unwrap_or(0)
    }

    /// Returns a number from `first` to `last`.
    pub fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// Returns `true` in `percent` of all cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len())]
    }

    /// Returns a duration from `first` to `last` milliseconds, in whole microseconds.
    pub fn millis(&mut self, first: usize, last: usize) -> Duration {
        let micros = self.between(first * 1_000, last * 1_000);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}
