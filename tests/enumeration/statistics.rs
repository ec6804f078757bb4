//! How well two sets of times can be told apart.

use std::fmt;

/// Area under the ROC curve: how often a time of one set is above one of the
/// other (Mann and Whitney's U, as a share), whichever way round is more.
pub struct Auc {
    value: f64,
    /// Half of the 95 % interval.
    margin: f64,
}

impl Auc {
    pub fn of(some: &[f64], others: &[f64]) -> Self {
        let mut sorted = others.to_vec();
        sorted.sort_by(f64::total_cmp);
        let wins: f64 = some
            .iter()
            .map(|time| {
                let below = sorted.partition_point(|other| other < time);
                let equal = sorted.partition_point(|other| other <= time) - below;
                float(below) + float(equal) / 2.0
            })
            .sum();
        let (n, m) = (float(some.len()), float(others.len()));
        let share = wins / (n * m);
        let value = share.max(1.0 - share);
        Self {
            value,
            margin: 1.96 * standard_error(value, n, m),
        }
    }

    /// Whether it is above a limit, and not by chance: of few samples any value comes up.
    pub fn exceeds(&self, limit: f64) -> bool {
        self.value > limit && self.low() > 0.5
    }

    fn low(&self) -> f64 {
        (self.value - self.margin).max(0.0)
    }

    /// Whether so few samples cannot tell a value at a limit from 0.5.
    pub fn is_too_coarse(&self, limit: f64) -> bool {
        self.margin > limit - 0.5
    }
}

impl fmt::Display for Auc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, margin } = self;
        let (low, high) = (self.low(), (value + margin).min(1.0));
        write!(f, "{value:.3} ({low:.3}–{high:.3})")
    }
}

/// Hanley and McNeil (1982).
fn standard_error(auc: f64, n: f64, m: f64) -> f64 {
    let two_above = auc / (2.0 - auc);
    let above_two = 2.0 * auc * auc / (1.0 + auc);
    let square = auc * auc;
    let variance =
        auc * (1.0 - auc) + (n - 1.0) * (two_above - square) + (m - 1.0) * (above_two - square);
    (variance / (n * m)).max(0.0).sqrt()
}

pub fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("fewer samples than that"))
}
