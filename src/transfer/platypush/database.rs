//! The database of a node: opened so that nothing of it changes, read in one
//! transaction, into memory. SQLite keeps anything in any column, and this file
//! may come from anywhere: what is read is bounded before it is allocated.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::error::ReadError;
use super::rows::{Cell, Row, Table};
use crate::transfer::Oddity;

/// The longest text that is read. What Platypush writes is shorter by far,
/// except for names, which are as long as somebody typed them.
pub const MAX_CELL_BYTES: usize = 4096;
/// The most that is read in all, including…
const MAX_MIB: usize = 256;
/// …what a row takes besides its texts, so that a million are too many.
const ROW_BYTES: usize = 256;

/// What a database begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Where a database says whether it is written by way of a `-wal` file: 2.
const READ_VERSION_AT: usize = 19;

/// One view of the database, however long it is read and whoever writes.
pub(super) struct Database {
    path: PathBuf,
    connection: Connection,
    bytes_left: usize,
}

impl Database {
    /// Opens `main.db` of that folder.
    ///
    /// # Errors
    /// When it is not there, cannot be read or is something else.
    pub(super) fn open(workdir: &Path) -> Result<Self, ReadError> {
        let path = std::path::absolute(workdir)
            .map(|workdir| workdir.join("main.db"))
            .map_err(|source| ReadError::Unreadable {
                path: workdir.to_owned(),
                source,
            })?;
        let is_quiet = is_quiet(&path, workdir)?;
        let connection = connect(&path, is_quiet).map_err(|error| explain(&path, &error))?;
        let database = Self {
            path,
            connection,
            bytes_left: MAX_MIB * 1024 * 1024,
        };
        database.check_its_end()?;
        Ok(database)
    }

    /// SQLite notices pages that are missing, but takes what is missing of the
    /// last one for zeros.
    fn check_its_end(&self) -> Result<(), ReadError> {
        let page: u32 = self
            .connection
            .query_row("PRAGMA page_size", [], |row| row.get(0))
            .map_err(|error| explain(&self.path, &error))?;
        let length = self
            .path
            .metadata()
            .map_err(|source| ReadError::Unreadable {
                path: self.path.clone(),
                source,
            })?;
        if length.len().is_multiple_of(page.into()) {
            return Ok(());
        }
        Err(ReadError::Damaged {
            path: self.path.clone(),
            detail: "it ends within a page".into(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All rows of a table in the order of their numbers; none where there is
    /// no such table.
    ///
    /// # Errors
    /// A table of another make, and all that goes wrong in reading.
    pub(super) fn rows(&mut self, table: &'static Table) -> Result<Option<Vec<Row>>, ReadError> {
        let foreign = |what: String| ReadError::ForeignTable {
            path: self.path.clone(),
            table: table.name,
            what,
        };
        let there = |error| explain(&self.path, &error);
        // A view or virtual table would run what somebody wrote there.
        match self.kind(table).map_err(there)? {
            None => return Ok(None),
            Some((kind, 0)) if kind == "table" => {}
            Some((kind, 0)) => return Err(foreign(format!("it is a {kind}"))),
            Some(_) => return Err(foreign("its rows have no numbers".into())),
        }
        let present = self.columns(table).map_err(there)?;
        let is_present =
            |column: &str| present.iter().any(|name| name.eq_ignore_ascii_case(column));
        if let Some(missing) = table.needed.iter().find(|column| !is_present(column)) {
            return Err(foreign(format!("it has no column {missing}")));
        }
        let query = query(table, is_present);
        self.read(table, &query).map(Some)
    }

    /// What it is, and whether it has rows without numbers.
    fn kind(&self, table: &Table) -> rusqlite::Result<Option<(String, i64)>> {
        let mut query = self.connection.prepare(
            "SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE",
        )?;
        let mut rows = query.query([table.name])?;
        rows.next()?
            .map(|row| Ok((row.get(0)?, row.get(1)?)))
            .transpose()
    }

    /// Those that hold something: a computed one would run what somebody wrote.
    fn columns(&self, table: &Table) -> rusqlite::Result<Vec<String>> {
        let mut query = self
            .connection
            .prepare("SELECT name FROM pragma_table_xinfo(?1, 'main') WHERE hidden = 0")?;
        query.query_map([table.name], |row| row.get(0))?.collect()
    }

    fn read(&mut self, table: &'static Table, query: &str) -> Result<Vec<Row>, ReadError> {
        let path = &self.path;
        let there = |error| explain(path, &error);
        let mut query = self.connection.prepare(query).map_err(there)?;
        let mut found = query.query([]).map_err(there)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(there)? {
            let row = read_row(table, row).map_err(there)?;
            self.bytes_left = self
                .bytes_left
                .checked_sub(ROW_BYTES + row.text_bytes())
                .ok_or_else(|| ReadError::TooMuch {
                    path: path.clone(),
                    table: table.name,
                    limit_mib: MAX_MIB,
                })?;
            rows.push(row);
        }
        Ok(rows)
    }
}

/// For each column its length in bytes and, unless that is too much, what it
/// holds: SQLite does not load what it is asked the length of.
fn query(table: &Table, is_present: impl Fn(&str) -> bool) -> String {
    let mut query = String::from("SELECT _rowid_");
    for column in table.columns {
        // Writing to a String does not fail. The names are ours.
        let _ = if is_present(column) {
            write!(
                query,
                ", octet_length(\"{column}\"), \
                 CASE WHEN octet_length(\"{column}\") <= {MAX_CELL_BYTES} THEN \"{column}\" END"
            )
        } else {
            write!(query, ", NULL, NULL")
        };
    }
    let _ = write!(query, " FROM main.\"{}\" ORDER BY _rowid_", table.name);
    query
}

fn read_row(table: &'static Table, row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let mut cells = Vec::with_capacity(table.columns.len());
    for column in 0..table.columns.len() {
        let length: Option<i64> = row.get(1 + 2 * column)?;
        let is_too_long = length.is_some_and(|length| length > MAX_CELL_BYTES as i64);
        cells.push(match row.get_ref(2 + 2 * column)? {
            _ if is_too_long => Cell::Odd(Oddity::TooLong),
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(number) => Cell::Integer(number),
            ValueRef::Real(_) => Cell::Odd(Oddity::Real),
            ValueRef::Blob(_) => Cell::Odd(Oddity::Blob),
            ValueRef::Text(text) => match str::from_utf8(text) {
                Ok(text) => Cell::text(text),
                Err(_) => Cell::Odd(Oddity::NotUtf8),
            },
        });
    }
    Ok(Row::new(table, row.get(0)?, cells))
}

/// Looks at the file before SQLite does, which makes databases of empty files.
/// Whether nobody has it open: one that is written by way of a `-wal` file has
/// such a file as long as somebody does.
fn is_quiet(path: &Path, workdir: &Path) -> Result<bool, ReadError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            ReadError::NoDatabase(workdir.to_owned())
        }
        _ => ReadError::Unreadable {
            path: path.to_owned(),
            source,
        },
    };
    let mut header = Vec::with_capacity(READ_VERSION_AT + 1);
    File::open(path)
        .and_then(|file| {
            file.take(READ_VERSION_AT as u64 + 1)
                .read_to_end(&mut header)
        })
        .map_err(unreadable)?;
    if !header.starts_with(MAGIC) {
        return Err(ReadError::NotADatabase(path.to_owned()));
    }
    let is_wal = header.get(READ_VERSION_AT) == Some(&2);
    let is_written = beside(path, "-wal")
        .symlink_metadata()
        .is_ok_and(|wal| wal.len() > 0);
    Ok(is_wal && !is_written)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned().into_vec();
    name.extend_from_slice(suffix.as_bytes());
    PathBuf::from(std::ffi::OsString::from_vec(name))
}

/// Opens it for reading and starts the one transaction. A quiet database is
/// read as a file that nobody writes: SQLite would create files beside it, or
/// fail where it must not.
fn connect(path: &Path, is_quiet: bool) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file://");
    for byte in path.as_os_str().as_bytes() {
        // Writing to a String does not fail.
        let _ = match byte {
            b'/' | b'.' | b'-' | b'_' => write!(uri, "{}", char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => write!(uri, "{}", char::from(*byte)),
            byte => write!(uri, "%{byte:02x}"),
        };
    }
    uri.push_str(if is_quiet {
        "?mode=ro&immutable=1"
    } else {
        "?mode=ro"
    });
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    // What a schema of unknown make may do, and a page of it may claim.
    connection.execute_batch(
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA query_only = ON; BEGIN",
    )?;
    // Only the first reading begins to read.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

fn explain(path: &Path, error: &rusqlite::Error) -> ReadError {
    let path = path.to_owned();
    let detail = error.to_string();
    match error.sqlite_error() {
        Some(failure) => match failure.code {
            ErrorCode::NotADatabase => ReadError::NotADatabase(path),
            ErrorCode::DatabaseCorrupt => ReadError::Damaged { path, detail },
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => ReadError::Locked(path),
            // A hot journal, or a `-wal` file that needs its `-shm`.
            ErrorCode::ReadOnly => ReadError::Unfinished(path),
            ErrorCode::CannotOpen if has_leftovers(&path) => ReadError::Unfinished(path),
            ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ => {
                ReadError::Damaged { path, detail }
            }
            _ => ReadError::Sqlite { path, detail },
        },
        None => ReadError::Sqlite { path, detail },
    }
}

fn has_leftovers(path: &Path) -> bool {
    ["-wal", "-journal"]
        .iter()
        .any(|suffix| beside(path, suffix).exists())
}
