//! Why a node's users cannot be read at all.

use std::io;
use std::path::PathBuf;

/// Nothing was read. It says what to do, where there is something to do.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The folder holds no database.
    #[error(
        "no main.db in {}: give the working directory of a Platypush node, by default \
         ~/.local/share/platypush, or /var/lib/platypush for root (a node whose configuration \
         sets `main.db` keeps its users elsewhere; only SQLite can be read)", .0.display()
    )]
    NoDatabase(PathBuf),
    /// A file or folder that cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else than a database.
    #[error("{} is not an SQLite database", .0.display())]
    NotADatabase(PathBuf),
    /// It cannot be read to the end.
    #[error("{} is damaged ({detail}): restore it from a backup of the node, and import that", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// A database of something else.
    #[error("{} has no table of users: it is not the database of a Platypush node", .0.display())]
    NoUsers(PathBuf),
    /// The node is writing all the time.
    #[error("{} is locked: try again, or stop the node meanwhile", .0.display())]
    Locked(PathBuf),
    /// What the node was writing when it ended is still to be undone or added,
    /// which needs writing.
    #[error(
        "{} was left in the middle of a write, and reading must not change it: start and stop \
         the node once, or import a copy of the folder that may be written to", .0.display()
    )]
    Unfinished(PathBuf),
    /// Something else that SQLite says.
    #[error("cannot read {}: {detail}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What it says.
        detail: String,
    },
    /// A table of another make.
    #[error("table {table} of {} is none of Platypush's: {what}", path.display())]
    ForeignTable {
        /// The database.
        path: PathBuf,
        /// The table.
        table: &'static str,
        /// In what it differs.
        what: String,
    },
    /// More than any node has.
    #[error("{} holds too much to be read: {limit_mib} MiB are exceeded in table {table}", path.display())]
    TooMuch {
        /// The database.
        path: PathBuf,
        /// Where the limit was reached.
        table: &'static str,
        /// The limit.
        limit_mib: usize,
    },
    /// Users have second factors, and what opens them is not there.
    #[error(
        "{} is needed for the second factors of the users (--otp-key FILE, where it is elsewhere): \
         users are not imported without their second factor. It cannot be read", path.display()
    )]
    NoKey {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of something else.
    #[error(
        "{} is not the private key of a node (PEM, BEGIN RSA PRIVATE KEY, 1024 to 8192 bits)", .0.display()
    )]
    NotAKey(PathBuf),
    /// Another node's key.
    #[error("{} does not fit: it opens the second factor of no user, {failed} were tried", path.display())]
    WrongKey {
        /// The key.
        path: PathBuf,
        /// How many users have a second factor.
        failed: usize,
    },
}
