//! The client of the control socket.

use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::frame::{self, FrameReader};
use super::{AdminCommand, Answer, Request, Response, SOCKET};
use crate::store::ImportProgress;

/// How often the client of an import checks whether the operator interrupts it.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(100);

/// Sends a command to the daemon of a working directory. Returns `None` if no daemon listens.
/// `sudo_uid` is for the audit trail. The lines of an export go to
/// `on_lines`, which returns whether to go on.
///
/// # Errors
/// When a daemon listens and does not answer.
pub fn ask(
    workdir: &Path,
    command: &AdminCommand,
    sudo_uid: Option<u32>,
    on_lines: &mut dyn FnMut(Vec<String>) -> bool,
) -> io::Result<Option<Answer>> {
    let mut stream = match UnixStream::connect(workdir.join(SOCKET)) {
        Ok(stream) => stream,
        Err(error) if is_without_listener(error.kind()) => return Ok(None),
        Err(error) => return Err(error),
    };
    stream.write_all(&frame::encode(&Request { command, sudo_uid })?)?;
    let progress = match command {
        AdminCommand::Import(request) => Some(&*request.progress),
        _ => None,
    };
    read_answer(&stream, progress, on_lines).map(Some).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("it ended, or hung up, before it answered ({error}): whether this was done is not known"),
        )
    })
}

fn read_answer(
    stream: &UnixStream,
    progress: Option<&ImportProgress>,
    on_lines: &mut dyn FnMut(Vec<String>) -> bool,
) -> io::Result<Answer> {
    stream.set_read_timeout(progress.map(|_| INTERRUPT_INTERVAL))?;
    let mut reader = FrameReader::default();
    let mut is_interrupted = false;
    loop {
        if let Some(value) = reader.read(stream)? {
            match serde_json::from_slice(&value)? {
                Response::Answer(answer) => return Ok(answer),
                Response::Lines(lines) => {
                    if !on_lines(lines) {
                        return Err(io::ErrorKind::Interrupted.into());
                    }
                }
                Response::Progress(users) => {
                    if let Some(progress) = progress {
                        progress.set_users(users);
                    }
                }
            }
        }
        if !is_interrupted && progress.is_some_and(ImportProgress::is_interrupted) {
            is_interrupted = true;
            stream.shutdown(Shutdown::Write)?;
        }
    }
}

/// Returns whether an error of connecting means that no daemon listens. Where the path is too long
/// for a socket, no daemon could start either.
const fn is_without_listener(error: io::ErrorKind) -> bool {
    matches!(
        error,
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput
    )
}
