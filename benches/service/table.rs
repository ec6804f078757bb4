//! The one table of a run.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// What was measured of one thing.
pub struct Row {
    what: String,
    measured: String,
    /// What it is held against, measured in the same run.
    against: String,
    goal: String,
    verdict: &'static str,
}

/// How a figure is held against its goal.
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
    /// `text` says the goal in words, `figure` is what it is about.
    pub fn new(what: &str, measured: String, against: String) -> Self {
        Self {
            what: what.into(),
            measured,
            against,
            goal: String::new(),
            verdict: "",
        }
    }

    pub fn goals(mut self, text: &str, goals: &[(f64, Goal)]) -> Self {
        let met = goals.iter().all(|(figure, goal)| goal.is_met_by(*figure));
        self.goal = text.into();
        self.verdict = if met { "met" } else { "**missed**" };
        self
    }
}

/// Where the table stands in a file.
const BEGIN: &str = "<!-- the table of `make bench` begins -->\n";
const END: &str = "<!-- it ends -->";

/// Rows as they come, printed at once and kept.
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

    /// Puts the table in the place of the one in the file.
    pub fn write_into(&self, file: &Path) -> io::Result<()> {
        let text = std::fs::read_to_string(file)?;
        let (before, rest) = text
            .split_once(BEGIN)
            .ok_or_else(|| io::Error::other("no place for a table"))?;
        let after = rest
            .split_once(END)
            .ok_or_else(|| io::Error::other("no end of the table"))?
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

/// A rate or count with its thousands apart.
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

/// The middle one; of an even number, the lower of the two.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) / 2]
}
