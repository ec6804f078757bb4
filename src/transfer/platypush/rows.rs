//! The tables of a node that matter here (`platypush/user/_model.py`), and the
//! rows of them, with anything in any cell.

use chrono::NaiveDateTime;
use zeroize::Zeroizing;

use crate::clock::{Timestamp, is_in_iso_years};
use crate::transfer::{Oddity, Why};

/// A table.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// What is read of it.
    pub(super) columns: &'static [&'static str],
    /// What it must have; without the rest it is an older one.
    pub(super) needed: &'static [&'static str],
}

pub(super) const USERS: Table = Table {
    name: "user",
    columns: &[
        "user_id",
        "username",
        "password",
        "password_salt",
        "hmac_iterations",
        "created_at",
    ],
    needed: &["user_id", "username", "password"],
};

/// It also says when a second factor expires, which nothing ever sets, and
/// Platypush does not look at: a second factor stays.
pub(super) const SECOND_FACTORS: Table = Table {
    name: "user_otp",
    columns: &["user_id", "otp_secret"],
    needed: &["user_id", "otp_secret"],
};

pub(super) const BACKUP_CODES: Table = Table {
    name: "user_backup_code",
    columns: &["user_id", "code", "expires_at"],
    needed: &["user_id", "code"],
};

pub(super) const API_TOKENS: Table = Table {
    name: "user_token",
    columns: &["user_id", "token", "name", "created_at", "expires_at"],
    needed: &["user_id", "token", "name"],
};

pub(super) const SESSIONS: Table = Table {
    name: "user_session",
    columns: &["user_id", "session_token", "created_at", "expires_at"],
    needed: &["user_id", "session_token"],
};

/// What stands in a column.
pub(super) enum Cell {
    Null,
    Integer(i64),
    /// A hash, or a session token in clear.
    Text(Zeroizing<String>),
    Odd(Oddity),
}

impl Cell {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(Zeroizing::new(text.to_owned()))
    }
}

/// A row of a table.
pub(super) struct Row {
    table: &'static Table,
    /// Its number, which is that of its `INTEGER PRIMARY KEY`.
    pub(super) number: i64,
    cells: Vec<Cell>,
}

impl Row {
    /// With one cell for each column of the table.
    pub(super) const fn new(table: &'static Table, number: i64, cells: Vec<Cell>) -> Self {
        Self {
            table,
            number,
            cells,
        }
    }

    /// What its texts take.
    pub(super) fn text_bytes(&self) -> usize {
        let bytes = |cell: &Cell| match cell {
            Cell::Text(text) => text.len(),
            Cell::Null | Cell::Integer(_) | Cell::Odd(_) => 0,
        };
        self.cells.iter().map(bytes).sum()
    }

    fn cell(&self, column: &str) -> &Cell {
        let names = self.table.columns.iter();
        names
            .zip(&self.cells)
            .find_map(|(name, cell)| (*name == column).then_some(cell))
            .unwrap_or(&Cell::Null)
    }

    /// A text; none where it is NULL or empty, which Python takes for the same.
    pub(super) fn text(&self, column: &str) -> Result<Option<&str>, Why> {
        match self.cell(column) {
            Cell::Null => Ok(None),
            Cell::Text(text) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Cell::Integer(_) => Err(odd(column, Oddity::Integer)),
            Cell::Odd(oddity) => Err(odd(column, *oddity)),
        }
    }

    /// A text that must be there.
    pub(super) fn some_text(&self, column: &str) -> Result<&str, Why> {
        self.text(column)?
            .ok_or_else(|| Why::Missing(column.to_owned()))
    }

    /// A whole number; none where it is NULL.
    pub(super) fn integer(&self, column: &str) -> Result<Option<i64>, Why> {
        match self.cell(column) {
            Cell::Null => Ok(None),
            Cell::Integer(number) => Ok(Some(*number)),
            Cell::Text(_) => Err(odd(column, Oddity::Text)),
            Cell::Odd(oddity) => Err(odd(column, *oddity)),
        }
    }

    /// Whose it is.
    pub(super) fn user_id(&self) -> Result<i64, Why> {
        self.integer("user_id")?
            .ok_or_else(|| Why::Missing("user_id".to_owned()))
    }

    /// A date; none where it is NULL.
    pub(super) fn date(&self, column: &str) -> Result<Option<Timestamp>, Why> {
        let Some(text) = self.text(column)? else {
            return Ok(None);
        };
        let date = parse_date(text).ok_or_else(|| Why::NoDate(column.to_owned()))?;
        if !is_in_iso_years(date) {
            return Err(Why::Year(column.to_owned()));
        }
        Ok(Some(date))
    }
}

fn odd(column: &str, oddity: Oddity) -> Why {
    Why::Odd {
        column: column.to_owned(),
        oddity,
    }
}

/// `2026-11-24 02:36:07.992624`, in UTC, as SQLAlchemy writes it: microseconds
/// may be missing, and a `T` may stand between, as Python reads it too.
fn parse_date(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let moment =
        NaiveDateTime::parse_from_str(&format!("{date} {time}"), "%Y-%m-%d %H:%M:%S%.f").ok()?;
    // To the microsecond, and a leap second as the second behind it.
    Timestamp::from_timestamp_micros(moment.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Iso;

    #[test]
    fn dates_are_read_as_python_reads_them() {
        for (text, moment) in [
            ("2026-11-24 02:36:07.992624", "2026-11-24T02:36:07.992624"),
            ("2026-11-24T02:36:07.992624", "2026-11-24T02:36:07.992624"),
            ("2026-11-24 02:36:07", "2026-11-24T02:36:07.000000"),
            ("2026-11-24 02:36:07.5", "2026-11-24T02:36:07.500000"),
            ("1970-01-01 00:00:00.000000", "1970-01-01T00:00:00.000000"),
        ] {
            let read = parse_date(text).map(|moment| Iso(moment).to_string());
            assert_eq!(read.as_deref(), Some(moment), "{text}");
        }
        for bad in [
            "",
            "never",
            "2026-11-24",
            "2026-02-30 00:00:00",
            "2026-11-24 25:00:00",
            "2026-11-24 02:36:07 CET",
            "2026-11-24 02:36:07+01:00",
            "1790000000",
        ] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_date_panics(text in "\\PC{0,40}|[-+0-9:. T]{0,40}") {
            let _ = parse_date(&text);
        }
    }
}
