//! Reads nodes that Platypush wrote (`tests/data/platypush/`), and unusual and damaged ones.

mod assembly;
mod invalid_cells;
mod keys;
mod open;
mod samples;

use std::path::{Path, PathBuf};

use chrono::DateTime;
use rusqlite::{Connection, ToSql};
use tempfile::TempDir;

use super::{NodeContents, NodePaths, ReadError, read};
use crate::clock::Timestamp;
use crate::credentials::imported::{Checker, parse};
use crate::model::{ApiToken, ApiTokenRecord, ImportedCode, PasswordRecord, User};
use crate::transfer::{ImportedUser, Location, RecordKind, SkipReason, Skipped};

/// A day after the samples were created. No record of them expires in between.
const NOW: &str = "2026-11-25T12:00:00Z";

/// Salt and hash of "secret" with 10 iterations, by Python's hashlib.
const SALT: &str = "000102030405060708090a0b0c0d0e0f";
const SECRET: &str = "f8332ea7a39557af003df934f09c9a92e648b4fe4cd432aeea7b4d017c35ab3f";
/// bcrypt hash of "secret".
const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

fn now() -> Timestamp {
    timestamp(NOW)
}

fn timestamp(text: &str) -> Timestamp {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn sample(name: &str) -> PathBuf {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/platypush");
    samples.join(name)
}

fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(sample(name)).unwrap()).unwrap()
}

fn node_paths(workdir: &Path) -> NodePaths {
    NodePaths {
        workdir: workdir.to_owned(),
        otp_key: None,
    }
}

fn read_at(workdir: &Path) -> Result<NodeContents, ReadError> {
    read(&node_paths(workdir), now(), &mut |_| ())
}

fn is_right(password: &str, record: &PasswordRecord) -> bool {
    let scheme = parse(record).unwrap().unwrap();
    Checker::default().verify(password.as_bytes(), &scheme)
}

fn imported<'f>(found: &'f NodeContents, name: &str) -> &'f ImportedUser {
    let mut users = found.users.iter();
    users
        .find(|imported| imported.user.username == name)
        .expect(name)
}

fn user<'f>(found: &'f NodeContents, name: &str) -> &'f User {
    &imported(found, name).user
}

fn backup_codes(user: &User) -> &[ImportedCode] {
    let factor = user.second_factor.as_ref();
    factor.map_or(&[], |factor| &factor.imported_codes)
}

fn record(token: &ApiToken) -> &PasswordRecord {
    match &token.record {
        ApiTokenRecord::Imported(record) => record,
        ApiTokenRecord::Hash(_) => panic!("a node has no such token"),
    }
}

/// Returns the kind and reason of each skipped record, in order.
fn reasons(found: &NodeContents) -> Vec<(RecordKind, SkipReason)> {
    let reason = |skipped: &Skipped| (skipped.kind, skipped.reason.clone());
    found.skipped.iter().map(reason).collect()
}

/// A working directory with a database that the test writes.
struct Node {
    directory: TempDir,
    database: Connection,
}

impl Node {
    /// Creates a node with the empty tables of Platypush 1.3.39.
    fn new() -> Self {
        Self::with(include_str!("schema.sql"))
    }

    fn with(schema: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Connection::open(directory.path().join("main.db")).unwrap();
        database.execute_batch(schema).unwrap();
        // As in Python, so that rows without a user can exist.
        database.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        Self {
            directory,
            database,
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn sql(&self, sql: &str, values: &[&dyn ToSql]) -> &Self {
        self.database.execute(sql, values).unwrap();
        self
    }

    /// Adds a user with the password "secret".
    fn user(&self, id: i64, name: &str) -> &Self {
        self.sql(
            "INSERT INTO user VALUES (?1, ?2, ?3, ?4, 10, '2026-01-01 00:00:00.000000')",
            &[&id, &name, &SECRET, &SALT],
        )
    }

    /// Adds a second factor.
    fn second_factor(&self, user_id: i64, ciphertext: &str) -> &Self {
        self.sql(
            "INSERT INTO user_otp VALUES (?1, ?2, NULL, NULL)",
            &[&user_id, &ciphertext],
        )
    }

    fn sample_key(&self) -> &Self {
        self.key(&std::fs::read(sample("workdir/otp/key")).unwrap())
    }

    fn key(&self, text: &[u8]) -> &Self {
        std::fs::create_dir_all(self.path().join("otp")).unwrap();
        std::fs::write(self.path().join("otp/key"), text).unwrap();
        self
    }

    fn read(&self) -> NodeContents {
        self.try_read().unwrap()
    }

    fn try_read(&self) -> Result<NodeContents, ReadError> {
        read_at(self.path())
    }
}
