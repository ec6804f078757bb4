//! A redis-server of its own, on a unix socket in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::redis_process;

/// What Redis keeps over its death.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    Nothing,
    Everything,
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

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again; returns when it serves.
    pub fn restart(&mut self) {
        self.child = spawn(self.folder.path(), self.persistence);
    }

    /// SIGSTOP for a while, from another thread.
    pub fn freeze(&self, time: Duration) -> std::thread::JoinHandle<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).unwrap();
        std::thread::spawn(move || {
            std::thread::sleep(time);
            kill_process(pid, Signal::CONT).unwrap();
        })
    }
}

/// A connection of the torture program, known to Redis by its name.
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
        Persistence::Nothing => "no",
        Persistence::Everything => "yes",
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
