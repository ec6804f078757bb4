//! Notifications to systemd: ready, status, watchdog, stopping.

use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Daemon, NotifySocket, RedisServer, run_by};

/// Starts a daemon with a notify socket.
fn start(redis: &RedisServer, change: impl FnOnce(&mut Command)) -> (Daemon, NotifySocket) {
    let folder = Arc::new(TempDir::new().unwrap());
    let socket = NotifySocket::bind(folder.path());
    let daemon = Daemon::launch(folder, redis, &[], |command| {
        let mut command = socket.announce(command);
        change(&mut command);
        command
    });
    (daemon, socket)
}

#[test]
fn systemd_gets_ready_status_and_stopping() {
    let redis = RedisServer::start();
    let (mut daemon, socket) = start(&redis, |_| ());
    socket.wait_for("READY=1");
    socket.wait_for("STATUS=Serving requests");
    assert!(daemon.stop().success());
    socket.wait_for("STOPPING=1");
}

#[test]
fn the_daemon_is_ready_without_redis_and_reports_each_outage() {
    let mut redis = RedisServer::start();
    redis.kill();
    let (mut daemon, socket) = start(&redis, |_| ());
    socket.wait_for("READY=1");
    socket.wait_for("STATUS=Redis is unavailable");
    redis.restart();
    socket.wait_for("STATUS=Serving requests");
    redis.kill();
    socket.wait_for("STATUS=Redis is unavailable");
    redis.restart();
    socket.wait_for("STATUS=Serving requests");
    assert!(daemon.stop().success());
    socket.wait_for("STOPPING=1");
}

#[test]
fn the_watchdog_is_notified_when_requested() {
    let redis = RedisServer::start();
    // `WATCHDOG_PID` is the pid of the daemon.
    let (mut daemon, socket) = {
        let folder = Arc::new(TempDir::new().unwrap());
        let socket = NotifySocket::bind(folder.path());
        let daemon = Daemon::launch(folder, &redis, &[], |command| {
            // A shell that sets it to its own pid and executes the daemon.
            let script = "WATCHDOG_PID=$$ exec \"$0\" \"$@\"";
            let mut shell = run_by(&["/bin/sh", "-c", script], &command);
            shell.env("WATCHDOG_USEC", "100000");
            socket.announce(shell)
        });
        (daemon, socket)
    };
    socket.wait_for("STATUS=Serving requests");
    // Several notifications, while the daemon is idle.
    for _ in 0..3 {
        socket.wait_for("WATCHDOG=1");
    }
    // Also while it works.
    let mut client = redis.client();
    client.call("create_user", json!(["alice", "secret"])).ok();
    socket.wait_for("WATCHDOG=1");
    assert!(daemon.stop().success());
}

#[test]
fn the_watchdog_of_another_process_is_not_notified() {
    let redis = RedisServer::start();
    let (mut daemon, socket) = start(&redis, |command| {
        command
            .env("WATCHDOG_USEC", "100000")
            .env("WATCHDOG_PID", "1");
    });
    socket.wait_for("READY=1");
    assert!(daemon.stop().success());
    loop {
        let next = socket.next();
        if next == "STOPPING=1" {
            return;
        }
    }
}
