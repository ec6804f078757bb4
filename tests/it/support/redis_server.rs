//! A redis-server process for one test.

use std::path::PathBuf;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::Client;
use crate::redis_process;

pub struct RedisServer {
    folder: TempDir,
    options: Vec<String>,
    child: Child,
}

impl RedisServer {
    /// Starts a Redis without persistence.
    pub fn start() -> Self {
        Self::with(&["--save", "", "--appendonly", "no"])
    }

    /// Starts a Redis that syncs every write to disk before it answers.
    pub fn durable() -> Self {
        Self::with(&[
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
        ])
    }

    pub fn with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options: Vec<_> = options.iter().map(ToString::to_string).collect();
        let child = redis_process::start(folder.path(), &options);
        Self {
            folder,
            options,
            child,
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn connection(&self) -> redis::Connection {
        redis::Client::open(self.url())
            .unwrap()
            .get_connection()
            .unwrap()
    }

    pub fn client(&self) -> Client {
        Client::new(self.connection())
    }

    /// Kills Redis with SIGKILL: connections break, and new ones are refused.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops Redis with SIGSTOP: connections stay open, and no command is answered.
    pub fn hang(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// Continues Redis after [`hang`](Self::hang).
    pub fn resume(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Restarts Redis on the same socket, with the data it has persisted.
    pub fn restart(&mut self) {
        self.child = redis_process::start(self.folder.path(), &self.options);
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
