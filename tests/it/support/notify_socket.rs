//! A stand-in for systemd: the socket that `NOTIFY_SOCKET` names.

use std::net::Shutdown;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use super::PATIENCE;

/// Receives `sd_notify` messages.
///
/// A thread reads without pause, as systemd does: a full socket would block the daemon.
pub struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
    messages: Receiver<String>,
}

impl NotifySocket {
    pub fn bind(folder: &Path) -> Self {
        let path = folder.join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        let reader = socket.try_clone().unwrap();
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut datagram = [0; 4096];
            while let Ok(length @ 1..) = reader.recv(&mut datagram) {
                let text = String::from_utf8_lossy(&datagram[..length]);
                let _ = sender.send(text.trim_end().to_owned());
            }
        });
        Self {
            socket,
            path,
            messages,
        }
    }

    /// Passes the path of the socket to the command, as systemd does.
    pub fn announce(&self, mut command: Command) -> Command {
        command.env("NOTIFY_SOCKET", &self.path);
        command
    }

    /// Waits for the next message, such as `READY=1`.
    #[track_caller]
    pub fn next(&self) -> String {
        let next = self.messages.recv_timeout(PATIENCE);
        next.expect("a notification")
    }

    /// Waits for the next message that begins with this text.
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
