//! Errors that prevent reading a node.

use std::io;
use std::path::PathBuf;

/// Why a node cannot be read. The message says how to fix it, if the operator can.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The folder contains no database.
    #[error(
        "no main.db in {}: give the working directory of a Platypush node, by default \
         ~/.local/share/platypush, or /var/lib/platypush for root (a node whose configuration \
         sets `main.db` keeps its users elsewhere; only SQLite can be read)", .0.display()
    )]
    NoDatabase(PathBuf),
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Path of the file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is not a database.
    #[error("{} is not an SQLite database", .0.display())]
    NotADatabase(PathBuf),
    /// The database is damaged.
    #[error("{} is damaged ({detail}): restore it from a backup of the node, and import that", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// Message of SQLite.
        detail: String,
    },
    /// The database is not that of a Platypush node.
    #[error("{} has no table of users: it is not the database of a Platypush node", .0.display())]
    NoUsers(PathBuf),
    /// The node kept the database locked.
    #[error("{} is locked: try again, or stop the node during the import", .0.display())]
    Locked(PathBuf),
    /// The node was killed during a write, and SQLite would have to write to the database to roll
    /// that back or complete it.
    #[error(
        "{} contains an unfinished write, and an import does not change the database: start and \
         stop the node once, or import a writable copy of the folder", .0.display()
    )]
    Unfinished(PathBuf),
    /// Any other error of SQLite.
    #[error("cannot read {}: {detail}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// Message of SQLite.
        detail: String,
    },
    /// A table does not have Platypush's schema.
    #[error("table {table} of {} is not a table of Platypush: {what}", path.display())]
    ForeignTable {
        /// The database.
        path: PathBuf,
        /// Name of the table.
        table: &'static str,
        /// The difference.
        what: String,
    },
    /// The tables are larger than those of any node.
    #[error("{} is too large: table {table} exceeds the limit of {limit_mib} MiB", path.display())]
    TooMuch {
        /// The database.
        path: PathBuf,
        /// Name of the table in which the limit was exceeded.
        table: &'static str,
        /// Limit of all tables together, in MiB.
        limit_mib: usize,
    },
    /// Users have second factors, and the key that decrypts them cannot be read.
    #[error(
        "{} is needed to decrypt the second factors (--otp-key FILE names another key): users are \
         not imported without their second factor. It cannot be read", path.display()
    )]
    NoKey {
        /// Path of the key.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is not an RSA key.
    #[error(
        "{} is not the private key of a node (PEM, BEGIN RSA PRIVATE KEY, 1024 to 8192 bits)", .0.display()
    )]
    NotAKey(PathBuf),
    /// The key is that of another node.
    #[error("{} is the wrong key: it decrypts none of {failed} second factors", path.display())]
    WrongKey {
        /// Path of the key.
        path: PathBuf,
        /// Number of second factors that were tried.
        failed: usize,
    },
}
