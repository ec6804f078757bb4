//! Starts a redis-server process, for all test programs and benchmarks.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts a redis-server that listens on `redis.sock` in `folder`, and waits until it is ready.
pub fn start(folder: &Path, options: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Child {
    let mut child = Command::new("redis-server")
        .args(["--port", "0", "--unixsocket", "redis.sock", "--dir", "."])
        .args(options)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is needed: `make test` installs it");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.to_lowercase().contains("ready to accept connections"));
    assert!(ready, "redis-server ended before it was ready");
    // Drains the pipe, so that Redis never blocks on its log.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    child
}
