//! The server of the control socket, in the daemon.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, RwLock, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{debug, warn};
use zeroize::Zeroizing;

use super::{Answer, ControlError, MAX_PATH, Request, Response, SOCKET, frame};
use crate::admin::{AdminCommand, Operator};
use crate::audit::Caller;
use crate::store::ImportProgress;

/// Name under which the socket is created, to be closed to other users before it can be found.
const DRAFT: &str = "control.new";
/// Maximum number of bytes of a request…
const MAX_REQUEST: usize = 64 << 10;
/// …unless it begins like this…
const IMPORT: &[u8] = br#"{"command":{"import":"#;
/// …and carries all users of a node.
const MAX_IMPORT: usize = 1 << 29;
/// Interval between progress frames of an import.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Pause after a connection that could not be accepted: to try at once would not close any of too
/// many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Runs the commands of all connections.
struct AdminServer {
    operator: Operator,
    /// Read-locked by each running command, so that the end can wait for them.
    running: RwLock<()>,
    /// Held by a rotation of keys: it may take a while, and only one runs at a time.
    rotating: Mutex<()>,
}

/// The open control socket.
pub struct Control {
    path: PathBuf,
    server: Arc<AdminServer>,
    accepting: JoinHandle<()>,
}

impl Control {
    /// Listens in a working directory that this process has locked, so that an existing socket is
    /// that of a dead process.
    ///
    /// # Errors
    /// When the socket cannot be created.
    pub fn open(workdir: &Path, operator: Operator) -> Result<Self, ControlError> {
        let path = workdir.join(SOCKET);
        if path.as_os_str().len() > MAX_PATH {
            return Err(ControlError::PathTooLong { path });
        }
        let listener = listen(&workdir.join(DRAFT), &path).map_err(|error| ControlError::Io {
            path: path.clone(),
            error,
        })?;
        let server = Arc::new(AdminServer {
            operator,
            running: RwLock::new(()),
            rotating: Mutex::new(()),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&server)));
        Ok(Self {
            path,
            server,
            accepting,
        })
    }

    /// Accepts no more connections, and waits for the running commands.
    pub async fn close(self) {
        self.shut();
        drop(self.server.running.write().await);
    }

    fn shut(&self) {
        self.accepting.abort();
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(%error, "cannot remove the control socket");
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
                let server = Arc::clone(&server);
                tokio::spawn(async move {
                    if let Err(error) = server.serve(stream).await {
                        debug!(%error, "a connection to the control socket failed");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "the control socket cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl AdminServer {
    async fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        let stream = &mut stream;
        let uid = stream.peer_cred()?.uid();
        let answer = match read_request(stream).await? {
            Some(Request { command, sudo_uid }) => {
                // The end of the daemon waits for commands, but not for the reader of an export.
                let _running = match command {
                    AdminCommand::Export => None,
                    _ => Some(self.running.read().await),
                };
                let _rotating = match command {
                    AdminCommand::RotateKey => Some(self.rotating.lock().await),
                    _ => None,
                };
                self.run(stream, command, &Caller { uid, sudo_uid }).await?
            }
            None => {
                // What the client sent may contain a password: neither log nor answer repeats it.
                warn!(uid, "the control socket received an invalid command");
                Err(format!(
                    "Invalid command: a command is one frame of JSON of at most {MAX_REQUEST} bytes, an \
                     import of at most {MAX_IMPORT}"
                ))
            }
        };
        send(stream, &Response::Answer(answer)).await?;
        stream.shutdown().await
    }

    /// Runs a command, and sends the lines of an export and the progress of an import to the client.
    /// Interrupts an import when the client closes its sending side or the connection.
    async fn run(
        &self,
        stream: &mut UnixStream,
        command: AdminCommand,
        by: &Caller,
    ) -> io::Result<Answer> {
        let progress = match &command {
            AdminCommand::Import(request) => Some(Arc::clone(&request.progress)),
            _ => None,
        };
        let is_interruptible = |progress: &Arc<ImportProgress>| !progress.is_interrupted();
        let (sender, mut lines) = mpsc::channel(1);
        let mut run = pin!(async move { self.operator.run(command, by, &sender).await });
        let mut interval = tokio::time::interval(PROGRESS_INTERVAL);
        let mut sent = 0;
        let mut input = [0; 1];
        loop {
            tokio::select! {
                biased;
                Some(lines) = lines.recv() => send_lines(stream, lines).await?,
                result = &mut run => {
                    while let Ok(lines) = lines.try_recv() {
                        send_lines(stream, lines).await?;
                    }
                    return Ok(result.map_err(|error| error.to_string()));
                }
                read = stream.read(&mut input), if progress.as_ref().is_some_and(is_interruptible) => {
                    if let (Some(progress), false) = (&progress, matches!(read, Ok(1..))) {
                        progress.interrupt();
                    }
                }
                _ = interval.tick(), if progress.is_some() => {
                    let users = progress.as_ref().map_or(0, |progress| progress.users());
                    if users != sent && try_send(stream, &Response::Progress(users)) {
                        sent = users;
                    }
                }
            }
        }
    }
}

/// Sends lines of an export. Its reader may pause for any time, for example in a pager.
async fn send_lines(stream: &mut UnixStream, lines: Vec<String>) -> io::Result<()> {
    stream
        .write_all(&frame::encode(&Response::Lines(lines))?)
        .await
}

async fn send(stream: &mut UnixStream, response: &Response) -> io::Result<()> {
    let frame = frame::encode(response)?;
    let mut rest = &frame[..];
    while !rest.is_empty() {
        let written = timeout(frame::TIMEOUT, stream.write(rest)).await??;
        rest = &rest[written..];
    }
    Ok(())
}

/// Sends a small frame if that needs no waiting. A client that does not read misses it.
fn try_send(stream: &UnixStream, response: &Response) -> bool {
    // A frame of some bytes is written as a whole or not at all: a socket has no room for less.
    frame::encode(response).is_ok_and(|frame| stream.try_write(&frame).is_ok())
}

/// Reads the request of a client; `None` where it is invalid.
async fn read_request(stream: &mut UnixStream) -> io::Result<Option<Request<AdminCommand>>> {
    let length = timeout(frame::TIMEOUT, stream.read_u32()).await??;
    let length = usize::try_from(length).map_err(io::Error::other)?;
    // Text of an earlier version's client is always longer.
    if length > MAX_IMPORT {
        return Ok(None);
    }
    let mut value = Zeroizing::new(Vec::new());
    frame::read_value(stream, &mut value, length.min(MAX_REQUEST)).await?;
    if length > MAX_REQUEST {
        if !value.starts_with(IMPORT) {
            return Ok(None);
        }
        frame::read_value(stream, &mut value, length).await?;
    }
    // Decoding an import takes long: it runs off the threads that serve requests.
    let decode = move || serde_json::from_slice(&value).ok();
    Ok(tokio::task::spawn_blocking(decode).await?)
}
