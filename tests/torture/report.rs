//! The result table.

use std::fmt::Write as _;

/// Result of one fault.
pub struct Report {
    pub fault: &'static str,
    pub amount: String,
    pub requests: u64,
    pub disagreements: u64,
    pub notes: String,
}

/// Formats the reports as a Markdown table.
pub fn table(reports: &[Report]) -> String {
    let mut table = String::from(
        "| fault | amount | requests | disagreements | notes |\n|---|---|---|---|---|\n",
    );
    for report in reports {
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} | {} |",
            report.fault, report.amount, report.requests, report.disagreements, report.notes
        );
    }
    table
}
