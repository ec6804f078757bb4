//! The result table of a run.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// Result of one measurement.
pub struct Row {
    what: String,
    measured: String,
    /// Reference value, measured in the same run.
    against: String,
    goal: String,
    verdict: &'static str,
}

/// Goal of a figure.
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met_by(&self, figure: f64) -> bool {
        match self {
            Self::AtLeast(goal) => figure >= *goal,
            Self::AtMost(goal) => figure <= *goal,
        }
    }
}

impl Row {
    /// Returns a row without a goal.
    pub fn new(what: &str, measured: String, against: String) -> Self {
        Self {
            what: what.into(),
            measured,
            against,
            goal: String::new(),
            verdict: "",
        }
    }

    /// Adds goals, described by `text`. All of them must be met.
    pub fn goals(mut self, text: &str, goals: &[(f64, Goal)]) -> Self {
        let met = goals.iter().all(|(figure, goal)| goal.is_met_by(*figure));
        self.goal = text.into();
        self.verdict = if met { "met" } else { "**missed**" };
        self
    }
}

/// Markers around the table in a file.
const BEGIN: &str = "<!-- begin: table of `make bench` -->\n";
const END: &str = "<!-- end: table of `make bench` -->";

/// Rows of the table. Each row is printed when it is added.
#[derive(Default)]
pub struct Table(Vec<Row>);

const HEAD: &str =
    "| what | measured | against, in the same run | goal | |\n|---|---|---|---|---|\n";

impl Table {
    pub fn push(&mut self, row: Row) {
        if self.0.is_empty() {
            print!("{HEAD}");
        }
        print!("{}", row.text());
        self.0.push(row);
    }

    /// Replaces the table in a file.
    pub fn write_into(&self, file: &Path) -> io::Result<()> {
        let text = std::fs::read_to_string(file)?;
        let (before, rest) = text
            .split_once(BEGIN)
            .ok_or_else(|| io::Error::other("no begin marker of the table"))?;
        let after = rest
            .split_once(END)
            .ok_or_else(|| io::Error::other("no end marker of the table"))?
            .1;
        let rows: String = self.0.iter().map(Row::text).collect();
        std::fs::write(file, format!("{before}{BEGIN}{HEAD}{rows}{END}{after}"))
    }
}

impl Row {
    fn text(&self) -> String {
        let mut text = String::new();
        let Self {
            what,
            measured,
            against,
            goal,
            verdict,
        } = self;
        let _ = writeln!(
            text,
            "| {what} | {measured} | {against} | {goal} | {verdict} |"
        );
        text
    }
}

/// Formats a rate or count with thousands separators.
pub fn thousands(number: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates and sizes are positive and far below 2^53"
    )]
    let digits = (number.round() as u64).to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns the median; of an even number of figures, the lower of the middle two.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) / 2]
}
