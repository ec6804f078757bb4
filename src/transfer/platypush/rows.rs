//! The tables of a node that an import reads (`platypush/user/_model.py`), and their rows.
//!
//! SQLite allows any value in any column, so each access checks the type.

use chrono::NaiveDateTime;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::clock::{Timestamp, is_in_iso_years};
use crate::model::Origin;
use crate::transfer::{CellError, SkipReason};

/// Prefix of the data of a fingerprint, so that no hash for another purpose is equal.
const FINGERPRINT_PURPOSE: &[u8] = b"platypush user 1";

/// A table of a node.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// Columns to read.
    pub(super) columns: &'static [&'static str],
    /// Columns that must exist. Older versions of Platypush did not have the others.
    pub(super) required: &'static [&'static str],
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
    required: &["user_id", "username", "password"],
};

/// The column `expires_at` is not read: Platypush never sets it and does not check it.
pub(super) const SECOND_FACTORS: Table = Table {
    name: "user_otp",
    columns: &["user_id", "otp_secret"],
    required: &["user_id", "otp_secret"],
};

pub(super) const BACKUP_CODES: Table = Table {
    name: "user_backup_code",
    columns: &["user_id", "code", "expires_at"],
    required: &["user_id", "code"],
};

pub(super) const API_TOKENS: Table = Table {
    name: "user_token",
    columns: &["user_id", "token", "name", "created_at", "expires_at"],
    required: &["user_id", "token", "name"],
};

pub(super) const SESSIONS: Table = Table {
    name: "user_session",
    columns: &["user_id", "session_token", "created_at", "expires_at"],
    required: &["user_id", "session_token"],
};

/// Value of a cell.
pub(super) enum Cell {
    Null,
    Integer(i64),
    /// May be a hash, or a session token in clear.
    Text(Zeroizing<String>),
    Invalid(CellError),
}

impl Cell {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(Zeroizing::new(text.to_owned()))
    }
}

/// A row of a table.
pub(super) struct Row {
    table: &'static Table,
    /// The rowid, which is also the value of an `INTEGER PRIMARY KEY`.
    pub(super) number: i64,
    cells: Vec<Cell>,
}

impl Row {
    /// Creates a row with one cell for each column of the table.
    pub(super) const fn new(table: &'static Table, number: i64, cells: Vec<Cell>) -> Self {
        Self {
            table,
            number,
            cells,
        }
    }

    /// Returns the length of all texts in bytes.
    pub(super) fn text_bytes(&self) -> usize {
        let bytes = |cell: &Cell| match cell {
            Cell::Text(text) => text.len(),
            Cell::Null | Cell::Integer(_) | Cell::Invalid(_) => 0,
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

    /// Returns a text, or `None` if it is NULL or empty, which Python code treats alike.
    pub(super) fn text(&self, column: &str) -> Result<Option<&str>, SkipReason> {
        match self.cell(column) {
            Cell::Null => Ok(None),
            Cell::Text(text) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Cell::Integer(_) => Err(invalid(column, CellError::Integer)),
            Cell::Invalid(error) => Err(invalid(column, *error)),
        }
    }

    /// Returns a text that must not be NULL or empty.
    pub(super) fn required_text(&self, column: &str) -> Result<&str, SkipReason> {
        self.text(column)?
            .ok_or_else(|| SkipReason::Missing(column.to_owned()))
    }

    /// Returns an integer, or `None` if it is NULL.
    pub(super) fn integer(&self, column: &str) -> Result<Option<i64>, SkipReason> {
        match self.cell(column) {
            Cell::Null => Ok(None),
            Cell::Integer(number) => Ok(Some(*number)),
            Cell::Text(_) => Err(invalid(column, CellError::Text)),
            Cell::Invalid(error) => Err(invalid(column, *error)),
        }
    }

    /// Returns the id of the user that the row belongs to.
    pub(super) fn user_id(&self) -> Result<i64, SkipReason> {
        self.integer("user_id")?
            .ok_or_else(|| SkipReason::Missing("user_id".to_owned()))
    }

    /// Returns a date, or `None` if it is NULL or empty.
    pub(super) fn date(&self, column: &str) -> Result<Option<Timestamp>, SkipReason> {
        let Some(text) = self.text(column)? else {
            return Ok(None);
        };
        let date = parse_date(text).ok_or_else(|| SkipReason::NotADate(column.to_owned()))?;
        if !is_in_iso_years(date) {
            return Err(SkipReason::YearOutOfRange(column.to_owned()));
        }
        Ok(Some(date))
    }

    /// Returns the fingerprint of a user, by which a later import recognizes it: SHA-256, truncated
    /// to 16 bytes, of its id, name, unparsed time of creation and salt. Id and name are not
    /// enough: on another node they may belong to another user.
    ///
    /// The salt is random and does not change with the password. A user without a salt has a bcrypt
    /// hash, which includes one: the whole hash is used, so that such a user is not recognized
    /// after a change of its password.
    pub(super) fn fingerprint(&self) -> Result<Origin, SkipReason> {
        let salt = match self.text("password_salt")? {
            Some(salt) => Some(salt),
            None => self.text("password")?,
        };
        let mut digest = Sha256::new();
        digest.update(FINGERPRINT_PURPOSE);
        digest.update(self.user_id()?.to_be_bytes());
        for part in [self.text("username")?, self.text("created_at")?, salt] {
            // The length precedes each part. A missing part has a length that no text has.
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            digest.update(length.to_be_bytes());
            digest.update(part.unwrap_or_default());
        }
        let mut origin = [0; 16];
        origin.copy_from_slice(&digest.finalize()[..16]);
        Ok(Origin(origin))
    }
}

fn invalid(column: &str, error: CellError) -> SkipReason {
    SkipReason::InvalidCell {
        column: column.to_owned(),
        error,
    }
}

/// Parses a date in UTC as SQLAlchemy writes it, such as `2026-11-24 02:36:07.992624`. As in
/// Python, the microseconds may be missing, and a `T` may replace the space.
fn parse_date(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let date =
        NaiveDateTime::parse_from_str(&format!("{date} {time}"), "%Y-%m-%d %H:%M:%S%.f").ok()?;
    // Rounds down to the microsecond, and maps a leap second to the following second.
    Timestamp::from_timestamp_micros(date.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Iso;

    #[test]
    fn dates_are_parsed_as_in_python() {
        for (text, expected) in [
            ("2026-11-24 02:36:07.992624", "2026-11-24T02:36:07.992624"),
            ("2026-11-24T02:36:07.992624", "2026-11-24T02:36:07.992624"),
            ("2026-11-24 02:36:07", "2026-11-24T02:36:07.000000"),
            ("2026-11-24 02:36:07.5", "2026-11-24T02:36:07.500000"),
            ("1970-01-01 00:00:00.000000", "1970-01-01T00:00:00.000000"),
        ] {
            let parsed = parse_date(text).map(|date| Iso(date).to_string());
            assert_eq!(parsed.as_deref(), Some(expected), "{text}");
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
        fn parsing_a_date_never_panics(text in "\\PC{0,40}|[-+0-9:. T]{0,40}") {
            let _ = parse_date(&text);
        }
    }
}
