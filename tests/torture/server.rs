//! A redis-server with its own unix socket and folder.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::redis_process;

/// What Redis keeps across a SIGKILL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// No persistence.
    Off,
    /// Append-only file with `appendfsync always`.
    Always,
}

pub struct Server {
    folder: TempDir,
    persistence: Persistence,
    child: Child,
}

impl Server {
    pub fn start(persistence: Persistence) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = spawn(folder.path(), persistence);
        Self {
            folder,
            persistence,
            child,
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts Redis again and waits until it is ready.
    pub fn restart(&mut self) {
        self.child = spawn(self.folder.path(), self.persistence);
    }

    /// Stops the process with SIGSTOP; a thread continues it after `time`.
    pub fn freeze(&self, time: Duration) -> std::thread::JoinHandle<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).unwrap();
        std::thread::spawn(move || {
            std::thread::sleep(time);
            kill_process(pid, Signal::CONT).unwrap();
        })
    }
}

/// Opens a connection named `torture`, which sets it apart from the daemon's in `CLIENT LIST`.
pub fn connect(socket: &Path) -> redis::RedisResult<redis::Connection> {
    let client = redis::Client::open(format!("unix://{}", socket.display()))?;
    let mut connection = client.get_connection()?;
    redis::cmd("CLIENT")
        .arg(&["SETNAME", "torture"])
        .exec(&mut connection)?;
    Ok(connection)
}

fn spawn(folder: &Path, persistence: Persistence) -> Child {
    let append = match persistence {
        Persistence::Off => "no",
        Persistence::Always => "yes",
    };
    let options = [
        "--save",
        "",
        "--appendfsync",
        "always",
        "--appendonly",
        append,
    ];
    redis_process::start(folder, options)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
