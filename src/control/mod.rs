//! The control socket: the operator's connection to a running daemon. It lies in the working
//! directory, for its owner alone.
//!
//! A connection carries one request and one answer, each a frame (`frame.rs`). Before the answer come
//! frames with the lines of an export, or the number of users that an import has written. A client
//! interrupts an import by closing its sending side.

mod client;
mod frame;
mod server;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::admin::{AdminCommand, AdminReply};
use crate::failure::{HasRemedy, Remedy, advice};

pub use self::client::ask;
pub use self::server::Control;

/// Name of the socket in the working directory.
const SOCKET: &str = "control.sock";
/// Maximum length of the path of a socket (`unix(7)`).
const MAX_PATH: usize = 107;

/// The answer to a command: its reply, or the text of its error.
pub type Answer = Result<AdminReply, String>;

/// The frame of a client. `command` comes first: the server recognises an import by its beginning.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<C> {
    command: C,
    /// The uid that `sudo` names, for the audit trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sudo_uid: Option<u32>,
}

/// A frame of the server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Response {
    /// Number of users that an import has written.
    Progress(u64),
    /// Lines of an export.
    Lines(Vec<String>),
    /// The answer, which is the last frame.
    Answer(Answer),
}

/// Error of opening the control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Its path is too long for an address.
    #[error(
        "the path of the control socket, {path}, is longer than the {MAX_PATH} bytes that a socket's may have: give the daemon a workdir with a shorter path", path = path.display()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be created.
    #[error("cannot make the control socket {path}: {error}{}", advice(path, error), path = path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
}

impl HasRemedy for ControlError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::PathTooLong { .. } => Remedy::Operator,
            Self::Io { error, .. } => Remedy::of_io(error),
        }
    }
}
