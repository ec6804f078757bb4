//! What systemd hears: the socket that `NOTIFY_SOCKET` names.

use std::net::Shutdown;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use super::PATIENCE;

/// Reads all the time, as systemd does: a full socket would hold up who
/// writes to it.
pub struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
    heard: Receiver<String>,
}

impl NotifySocket {
    pub fn bind(folder: &Path) -> Self {
        let path = folder.join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        let ear = socket.try_clone().unwrap();
        let (tell, heard) = channel();
        std::thread::spawn(move || {
            let mut datagram = [0; 4096];
            while let Ok(length @ 1..) = ear.recv(&mut datagram) {
                let text = String::from_utf8_lossy(&datagram[..length]);
                let _ = tell.send(text.trim_end().to_owned());
            }
        });
        Self {
            socket,
            path,
            heard,
        }
    }

    /// Lets the command know of it, as systemd does.
    pub fn announce(&self, mut command: Command) -> Command {
        command.env("NOTIFY_SOCKET", &self.path);
        command
    }

    /// The next assignment, such as `READY=1`.
    #[track_caller]
    pub fn next(&self) -> String {
        let next = self.heard.recv_timeout(PATIENCE);
        next.expect("a notification")
    }

    /// The first assignment from now on that begins so.
    #[track_caller]
    pub fn wait_for(&self, beginning: &str) -> String {
        loop {
            let next = self.next();
            if next.starts_with(beginning) {
                return next;
            }
        }
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
