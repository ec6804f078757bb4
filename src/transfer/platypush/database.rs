//! Reads the database of a node into memory, in one transaction and without changing the file.
//!
//! The file is not trusted, and SQLite allows any value in any column: sizes are checked before
//! memory is allocated.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, ffi};

use super::error::ReadError;
use super::rows::{Cell, Row, Table};
use crate::transfer::CellError;

/// Maximum length of a text in bytes. The texts that Platypush writes are much shorter, except for
/// names, which users choose.
pub const MAX_CELL_BYTES: usize = 4096;
/// Maximum size of all rows together in MiB.
const MAX_MIB: usize = 256;
/// Memory that a row takes besides its texts. With it, a million rows are too many.
const ROW_BYTES: usize = 256;

/// First bytes of an SQLite database.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Offset of the read version in the header. It is 2 if the database uses a `-wal` file.
const READ_VERSION_AT: usize = 19;

/// A snapshot of the database, which concurrent writes do not change.
pub(super) struct Database {
    pub(super) path: PathBuf,
    connection: Connection,
    bytes_left: usize,
}

impl Database {
    /// Opens `main.db` in a folder.
    ///
    /// # Errors
    /// When the file does not exist, cannot be read or is not a database.
    pub(super) fn open(workdir: &Path) -> Result<Self, ReadError> {
        let path = std::path::absolute(workdir)
            .map(|workdir| workdir.join("main.db"))
            .map_err(|source| unreadable(workdir, source))?;
        let is_idle_wal = is_idle_wal(&path, workdir)?;
        let connection = connect(&path, is_idle_wal);
        let connection = connection.map_err(|error| read_error(&path, &error))?;
        let database = Self {
            path,
            connection,
            bytes_left: MAX_MIB * 1024 * 1024,
        };
        database.check_last_page()?;
        Ok(database)
    }

    /// Checks that the last page is complete. SQLite detects missing pages, but reads the missing
    /// part of the last page as zeros.
    fn check_last_page(&self) -> Result<(), ReadError> {
        let page: u32 = self
            .connection
            .query_row("PRAGMA page_size", [], |row| row.get(0))
            .map_err(|error| read_error(&self.path, &error))?;
        let length = self
            .path
            .metadata()
            .map_err(|source| unreadable(&self.path, source))?;
        if length.len().is_multiple_of(page.into()) {
            return Ok(());
        }
        Err(ReadError::Damaged {
            path: self.path.clone(),
            detail: "its last page is incomplete".into(),
        })
    }

    /// Returns all rows of a table in the order of their rowids, or `None` if the table does not
    /// exist.
    ///
    /// # Errors
    /// When the table does not have Platypush's schema, or cannot be read.
    pub(super) fn rows(&mut self, table: &'static Table) -> Result<Option<Vec<Row>>, ReadError> {
        let foreign = |what: String| ReadError::ForeignTable {
            path: self.path.clone(),
            table: table.name,
            what,
        };
        let convert = |error| read_error(&self.path, &error);
        // A view or virtual table would run code from the untrusted file.
        match self.kind(table).map_err(convert)? {
            None => return Ok(None),
            Some((kind, 0)) if kind == "table" => {}
            Some((kind, 0)) => return Err(foreign(format!("it is a {kind}"))),
            Some(_) => return Err(foreign("it has no rowids".into())),
        }
        let present = self.columns(table).map_err(convert)?;
        let is_present =
            |column: &str| present.iter().any(|name| name.eq_ignore_ascii_case(column));
        if let Some(missing) = table.required.iter().find(|column| !is_present(column)) {
            return Err(foreign(format!("it has no column {missing}")));
        }
        let query = query(table, is_present);
        self.read(table, &query).map(Some)
    }

    /// Returns the type of a table, and 1 if it is `WITHOUT ROWID`, else 0.
    fn kind(&self, table: &Table) -> rusqlite::Result<Option<(String, i64)>> {
        let query = "SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE";
        self.connection
            .query_row(query, [table.name], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
    }

    /// Returns the stored columns of a table. A generated column would run code from the untrusted
    /// file.
    fn columns(&self, table: &Table) -> rusqlite::Result<Vec<String>> {
        let mut query = self
            .connection
            .prepare("SELECT name FROM pragma_table_xinfo(?1, 'main') WHERE hidden = 0")?;
        query.query_map([table.name], |row| row.get(0))?.collect()
    }

    fn read(&mut self, table: &'static Table, query: &str) -> Result<Vec<Row>, ReadError> {
        let path = &self.path;
        let convert = |error| read_error(path, &error);
        let mut query = self.connection.prepare(query).map_err(convert)?;
        let mut found = query.query([]).map_err(convert)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(convert)? {
            let row = read_row(table, row).map_err(convert)?;
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

/// Returns the query that selects, for each column, its length in bytes and, unless that is too
/// long, its value. SQLite does not load a value to return its length.
fn query(table: &Table, is_present: impl Fn(&str) -> bool) -> String {
    let mut query = String::from("SELECT _rowid_");
    for column in table.columns {
        // Writing to a String does not fail. The names are constants.
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
            _ if is_too_long => Cell::Invalid(CellError::TooLong),
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(number) => Cell::Integer(number),
            ValueRef::Real(_) => Cell::Invalid(CellError::Real),
            ValueRef::Blob(_) => Cell::Invalid(CellError::Blob),
            ValueRef::Text(text) => match str::from_utf8(text) {
                Ok(text) => Cell::text(text),
                Err(_) => Cell::Invalid(CellError::NotUtf8),
            },
        });
    }
    Ok(Row::new(table, row.get(0)?, cells))
}

/// Checks the header of the file: SQLite itself accepts an empty file as a new database.
///
/// Returns whether the database is in WAL mode and has no `-wal` file with data. Such a file exists
/// as long as a process that wrote to the database has it open.
fn is_idle_wal(path: &Path, workdir: &Path) -> Result<bool, ReadError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            ReadError::NoDatabase(workdir.to_owned())
        }
        _ => unreadable(path, source),
    };
    let mut header = Vec::with_capacity(READ_VERSION_AT + 1);
    File::open(path)
        .and_then(|file| {
            file.take(READ_VERSION_AT as u64 + 1)
                .read_to_end(&mut header)
        })
        .map_err(failed)?;
    if !header.starts_with(MAGIC) {
        return Err(ReadError::NotADatabase(path.to_owned()));
    }
    let is_wal = header.get(READ_VERSION_AT) == Some(&2);
    let has_wal = with_suffix(path, "-wal")
        .symlink_metadata()
        .is_ok_and(|wal| wal.len() > 0);
    Ok(is_wal && !has_wal)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn unreadable(path: &Path, source: io::Error) -> ReadError {
    ReadError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

/// Opens the database for reading and starts the only transaction.
///
/// Opens an idle database in WAL mode as immutable: otherwise SQLite would create files beside it,
/// or fail if it must not.
fn connect(path: &Path, is_idle_wal: bool) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file://");
    for byte in path.as_os_str().as_bytes() {
        // Writing to a String does not fail.
        let _ = match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                write!(uri, "{}", char::from(*byte))
            }
            byte => write!(uri, "%{byte:02x}"),
        };
    }
    uri.push_str(if is_idle_wal {
        "?mode=ro&immutable=1"
    } else {
        "?mode=ro"
    });
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    // The file is not trusted: restricts its schema, and checks the cells of each page.
    connection.execute_batch(
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA query_only = ON; BEGIN",
    )?;
    // BEGIN does not take a snapshot: the first read does.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

fn read_error(path: &Path, error: &rusqlite::Error) -> ReadError {
    let path = path.to_owned();
    let detail = error.to_string();
    match error.sqlite_error() {
        Some(failure) => match failure.code {
            ErrorCode::NotADatabase => ReadError::NotADatabase(path),
            ErrorCode::DatabaseCorrupt => ReadError::Damaged { path, detail },
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => ReadError::Locked(path),
            // A hot journal, or a `-wal` file whose `-shm` file is missing.
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
        .any(|suffix| with_suffix(path, suffix).exists())
}
