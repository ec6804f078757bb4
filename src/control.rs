//! The operator's way to a running daemon: a socket in the working directory,
//! for its owner alone. A connection brings one command and takes one answer,
//! each a line of JSON. Ahead of the answer to an import come lines with the
//! number of users written so far; a client that closes its sending side
//! interrupts it.

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, RwLock};
use tokio::task::JoinHandle;
use tracing::{debug, warn};
use zeroize::Zeroizing;

use crate::admin::{AdminCommand, AdminReply, Operator};
use crate::audit::Caller;
use crate::failure::{HasRemedy, Remedy, advice};
use crate::store::ImportProgress;
use crate::transfer::import::ImportRequest;

const SOCKET: &str = "control.sock";
/// Where it is made, to be closed to others before anybody can find it.
const DRAFT: &str = "control.new";
/// Longest path that the address of a socket holds (`unix(7)`).
const LONGEST_PATH: usize = 107;
/// Longest command in bytes…
const LONGEST_LINE: usize = 64 * 1024;
/// …but for one that begins like this…
const IMPORT: &[u8] = br#"{"import":"#;
/// …and brings all users of a place.
const LONGEST_IMPORT: usize = 1 << 30;
/// How long a client may pause while it says what it wants or takes the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the client of an import is told how far it is, and looks whether
/// it is to be interrupted.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Pause after a connection that could not be accepted: too many open files
/// do not go away by trying at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a command is answered: errors as their text.
pub type Answer = Result<AdminReply, String>;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No address can hold its path.
    #[error(
        "the path of the control socket, {path}, is longer than the {LONGEST_PATH} bytes that a socket's may have: give the daemon a workdir with a shorter path", path = path.display()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("cannot make the control socket {path}: {error}{}", advice(path, error), path = path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl HasRemedy for ControlError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::PathTooLong { .. } => Remedy::Person,
            Self::Io { error, .. } => Remedy::of_io(error),
        }
    }
}

/// Where commands are carried out.
struct AdminServer {
    operator: Operator,
    /// Held by each command under way, so that the end can wait for them.
    busy: RwLock<()>,
    /// A rotation of keys may take a while, and there is one at a time.
    rotating: Mutex<()>,
}

/// The open control socket.
pub struct Control {
    path: PathBuf,
    server: Arc<AdminServer>,
    accepting: JoinHandle<()>,
}

impl Control {
    /// Listens in a working directory whose lock is held: a socket that is
    /// there already is a dead process'.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(workdir: &Path, operator: Operator) -> Result<Self, ControlError> {
        let path = workdir.join(SOCKET);
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(ControlError::PathTooLong { path });
        }
        let listener = listen(&workdir.join(DRAFT), &path).map_err(|error| ControlError::Io {
            path: path.clone(),
            error,
        })?;
        let server = Arc::new(AdminServer {
            operator,
            busy: RwLock::new(()),
            rotating: Mutex::new(()),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&server)));
        Ok(Self {
            path,
            server,
            accepting,
        })
    }

    /// Takes no more connections, and waits for the commands under way.
    pub async fn close(self) {
        self.shut();
        drop(self.server.busy.write().await);
    }

    fn shut(&self) {
        self.accepting.abort();
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(%error, "the control socket could not be removed");
            }
            _ => {}
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.shut();
    }
}

fn listen(draft: &Path, path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(draft)?;
    fs::set_permissions(draft, Permissions::from_mode(0o600))?;
    fs::rename(draft, path)?;
    Ok(listener)
}

async fn accept(listener: UnixListener, server: Arc<AdminServer>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, Arc::clone(&server)));
            }
            Err(error) => {
                warn!(%error, "the control socket cannot take a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(mut stream: UnixStream, server: Arc<AdminServer>) {
    if let Err(error) = converse(&mut stream, &server).await {
        debug!(%error, "a connection to the control socket broke");
    }
}

async fn converse(stream: &mut UnixStream, server: &AdminServer) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let line = read_line(stream).await?;
    let answer: Answer = match parse(line).await {
        Some((AdminCommand::Import(order), Claim { sudo_uid })) => {
            let _busy = server.busy.read().await;
            import(stream, server, order, &Caller { uid, sudo_uid }).await
        }
        Some((command, Claim { sudo_uid })) => {
            let by = Caller { uid, sudo_uid };
            let _busy = server.busy.read().await;
            let _rotating = match command {
                AdminCommand::RotateKey => Some(server.rotating.lock().await),
                _ => None,
            };
            let result = server.operator.run(command, &by).await;
            result.map_err(|error| error.to_string())
        }
        None => {
            // What it sent may hold a password: it is not repeated.
            warn!(uid, "the control socket got what is no command");
            Err(format!(
                "A command is one line of JSON of at most {LONGEST_LINE} bytes, an import of at most \
                 {LONGEST_IMPORT}"
            ))
        }
    };
    let mut answer = serde_json::to_vec(&answer)?;
    answer.push(b'\n');
    let mut rest = &answer[..];
    while !rest.is_empty() {
        let written = tokio::time::timeout(PATIENCE, stream.write(rest)).await??;
        rest = &rest[written..];
    }
    stream.shutdown().await
}

/// Runs an import and tells the client how far it is. Interrupts it when the
/// client has gone, or says no more.
async fn import(
    stream: &mut UnixStream,
    server: &AdminServer,
    order: ImportRequest,
    by: &Caller,
) -> Answer {
    let progress = Arc::clone(&order.progress);
    let mut run = pin!(server.operator.run(AdminCommand::Import(order), by));
    let mut interval = tokio::time::interval(PROGRESS_INTERVAL);
    let mut told = 0;
    let mut more = [0; 1];
    loop {
        tokio::select! {
            result = &mut run => return result.map_err(|error| error.to_string()),
            read = stream.read(&mut more), if !progress.is_interrupted() => {
                if !matches!(read, Ok(1..)) {
                    progress.interrupt();
                }
            }
            _ = interval.tick() => {
                let users = progress.users();
                if users != told {
                    told = users;
                    // A client that does not read misses it, and nothing else.
                    let _ = stream.try_write(format!("{users}\n").as_bytes());
                }
            }
        }
    }
}

async fn read_line(stream: &mut UnixStream) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE));
    while !line.ends_with(b"\n") {
        if line.len() == line.capacity() {
            if !line.starts_with(IMPORT) || line.len() >= LONGEST_IMPORT {
                break;
            }
            // Not as a vector grows by itself: that leaves a copy of a password behind.
            let mut longer = Zeroizing::new(Vec::with_capacity(2 * line.len()));
            longer.extend_from_slice(&line);
            line = longer;
        }
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut *line)).await??;
        if read == 0 {
            break;
        }
    }
    Ok(line)
}

/// Off the thread that requests are served on where it may take long.
async fn parse(line: Zeroizing<Vec<u8>>) -> Option<(AdminCommand, Claim)> {
    let parse = move || {
        let mut values = serde_json::Deserializer::from_slice(line.strip_suffix(b"\n")?);
        let command = AdminCommand::deserialize(&mut values).ok()?;
        let rest = &mut values.into_iter();
        match (rest.next(), rest.next()) {
            (None, _) => Some((command, Claim::default())),
            (Some(Ok(claim)), None) => Some((command, claim)),
            _ => None,
        }
    };
    tokio::task::spawn_blocking(parse).await.ok()?
}

/// What a client says of itself behind its command.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    sudo_uid: Option<u32>,
}

/// Has the daemon of a working directory carry out a command; `None` where no
/// daemon listens. `sudo_uid` is for the audit trail.
///
/// # Errors
/// When the daemon is there and does not answer.
pub fn ask(
    workdir: &Path,
    command: &AdminCommand,
    sudo_uid: Option<u32>,
) -> io::Result<Option<Answer>> {
    let mut stream = match net::UnixStream::connect(workdir.join(SOCKET)) {
        Ok(stream) => stream,
        Err(error) if nobody_listens(error.kind()) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut line = Zeroizing::new(serde_json::to_vec(command)?);
    if sudo_uid.is_some() {
        line.push(b' ');
        serde_json::to_writer(&mut *line, &Claim { sudo_uid })?;
    }
    line.push(b'\n');
    stream.write_all(&line)?;
    let progress = match command {
        AdminCommand::Import(order) => Some(&*order.progress),
        _ => None,
    };
    read_answer(&stream, progress).map(Some).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("it ended, or hung up, before it answered ({error}): whether this was done is not known"),
        )
    })
}

fn read_answer(stream: &net::UnixStream, progress: Option<&ImportProgress>) -> io::Result<Answer> {
    stream.set_read_timeout(progress.map(|_| PROGRESS_INTERVAL))?;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    let mut is_interrupted = false;
    loop {
        match reader.read_until(b'\n', &mut line) {
            Ok(_) if !line.ends_with(b"\n") => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                let users = progress.and_then(|_| serde_json::from_slice(&line).ok());
                let (Some(progress), Some(users)) = (progress, users) else {
                    return Ok(serde_json::from_slice(&line)?);
                };
                progress.set_users(users);
                line.clear();
            }
            // What was read of the line stays in it.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) => {}
            Err(error) => return Err(error),
        }
        if !is_interrupted && progress.is_some_and(ImportProgress::is_interrupted) {
            is_interrupted = true;
            stream.shutdown(Shutdown::Write)?;
        }
    }
}

/// With a path that is too long for a socket, no daemon has started either.
const fn nobody_listens(error: io::ErrorKind) -> bool {
    matches!(
        error,
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput
    )
}
