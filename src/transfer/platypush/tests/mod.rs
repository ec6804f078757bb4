//! Reading nodes: those that Platypush wrote (`tests/data/platypush/`), and
//! those that nobody should write.

mod assembly;
mod keys;
mod odd_cells;
mod open;
mod samples;

use std::path::{Path, PathBuf};

use chrono::DateTime;
use rusqlite::{Connection, ToSql};
use tempfile::TempDir;

use super::{Found, Newcomer, ReadError, Source, read};
use crate::clock::Timestamp;
use crate::credentials::imported;
use crate::model::PasswordRecord;
use crate::transfer::{LeftBehind, Location, What, Why};

/// A day after the samples were made, and before anything in them expires that
/// does not have to.
const NOW: &str = "2026-11-25T12:00:00Z";

/// Salt and hash of "secret" with 10 iterations, by Python's hashlib.
const SALT: &str = "000102030405060708090a0b0c0d0e0f";
const SECRET: &str = "f8332ea7a39557af003df934f09c9a92e648b4fe4cd432aeea7b4d017c35ab3f";
/// bcrypt of "secret".
const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

fn now() -> Timestamp {
    moment(NOW)
}

fn moment(text: &str) -> Timestamp {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn sample(name: &str) -> PathBuf {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/platypush");
    samples.join(name)
}

fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(sample(name)).unwrap()).unwrap()
}

fn source(workdir: &Path) -> Source {
    Source {
        workdir: workdir.to_owned(),
        otp_key: None,
    }
}

fn read_at(workdir: &Path) -> Result<Found, ReadError> {
    read(&source(workdir), now(), &mut |_| ())
}

fn is_right(password: &str, record: &PasswordRecord) -> bool {
    let scheme = imported::parse(record).unwrap().unwrap();
    imported::verify(password.as_bytes(), &scheme)
}

fn user<'f>(found: &'f Found, name: &str) -> &'f Newcomer {
    let mut users = found.newcomers.iter();
    users.find(|user| user.username == name).expect(name)
}

/// What and why of all that was left behind, in order.
fn reasons(found: &Found) -> Vec<(What, Why)> {
    let reason = |left: &LeftBehind| (left.what, left.why.clone());
    found.left_behind.iter().map(reason).collect()
}

/// A working directory with a database that the test writes.
struct Node {
    directory: TempDir,
    database: Connection,
}

impl Node {
    /// With the tables of Platypush 1.3.39, and nothing in them.
    fn new() -> Self {
        Self::with(include_str!("schema.sql"))
    }

    fn with(schema: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Connection::open(directory.path().join("main.db")).unwrap();
        database.execute_batch(schema).unwrap();
        // As Python's is, which is how rows are orphaned.
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

    /// A user whose password is "secret".
    fn user(&self, id: i64, name: &str) -> &Self {
        self.sql(
            "INSERT INTO user VALUES (?1, ?2, ?3, ?4, 10, '2026-01-01 00:00:00.000000')",
            &[&id, &name, &SECRET, &SALT],
        )
    }

    /// A second factor, with the key that opens it if it is of the samples.
    fn second_factor(&self, user_id: i64, sealed: &str) -> &Self {
        self.sql(
            "INSERT INTO user_otp VALUES (?1, ?2, NULL, NULL)",
            &[&user_id, &sealed],
        )
    }

    fn key_of_the_samples(&self) -> &Self {
        self.key(&std::fs::read(sample("workdir/otp/key")).unwrap())
    }

    fn key(&self, text: &[u8]) -> &Self {
        std::fs::create_dir_all(self.path().join("otp")).unwrap();
        std::fs::write(self.path().join("otp/key"), text).unwrap();
        self
    }

    fn read(&self) -> Found {
        self.try_read().unwrap()
    }

    fn try_read(&self) -> Result<Found, ReadError> {
        read_at(self.path())
    }
}
