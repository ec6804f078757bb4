//! Statistics: how well two sets of times can be distinguished.

use std::fmt;

/// Area under the ROC curve: the share of pairs in which the time of one set is above that of the
/// other (Mann–Whitney U), in the direction in which it is larger.
pub struct Auc {
    value: f64,
    /// Half the width of the 95 % interval.
    margin: f64,
}

impl Auc {
    pub fn of(times: &[f64], others: &[f64]) -> Self {
        let mut sorted = others.to_vec();
        sorted.sort_by(f64::total_cmp);
        let wins: f64 = times
            .iter()
            .map(|time| {
                let below = sorted.partition_point(|other| other < time);
                let equal = sorted.partition_point(|other| other <= time) - below;
                float(below) + float(equal) / 2.0
            })
            .sum();
        let (n, m) = (float(times.len()), float(others.len()));
        let share = wins / (n * m);
        let value = share.max(1.0 - share);
        Self {
            value,
            margin: 1.96 * standard_error(value, n, m),
        }
    }

    /// Whether the value is above the limit and significantly above 0.5. With few samples, any
    /// value occurs by chance.
    pub fn exceeds(&self, limit: f64) -> bool {
        self.value > limit && self.low() > 0.5
    }

    fn low(&self) -> f64 {
        (self.value - self.margin).max(0.0)
    }

    /// Whether the samples are too few to distinguish a value at the limit from 0.5.
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

/// Standard error of an AUC after Hanley and McNeil (1982).
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
    f64::from(u32::try_from(count).expect("fewer than 2^32 samples"))
}
