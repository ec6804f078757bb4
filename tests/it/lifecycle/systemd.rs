//! What systemd is told: ready, what is going on, a sign of life, the end.

use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Daemon, NotifySocket, RedisServer, run_by};

/// Starts a daemon under a systemd of ours.
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
fn is_told_what_is_going_on() {
    let redis = RedisServer::start();
    let (mut daemon, socket) = start(&redis, |_| ());
    socket.wait_for("READY=1");
    socket.wait_for("STATUS=Serving requests");
    assert!(daemon.stop().success());
    socket.wait_for("STOPPING=1");
}

#[test]
fn is_told_ready_when_redis_is_away_and_of_its_coming_and_going() {
    let mut redis = RedisServer::start();
    redis.kill();
    let (mut daemon, socket) = start(&redis, |_| ());
    socket.wait_for("READY=1");
    socket.wait_for("STATUS=Redis does not do its part");
    redis.restart();
    socket.wait_for("STATUS=Serving requests");
    redis.kill();
    socket.wait_for("STATUS=Redis does not do its part");
    redis.restart();
    socket.wait_for("STATUS=Serving requests");
    assert!(daemon.stop().success());
    socket.wait_for("STOPPING=1");
}

#[test]
fn gets_a_sign_of_life_when_it_asks_for_one() {
    let redis = RedisServer::start();
    // `WATCHDOG_PID` is the daemon's own.
    let (mut daemon, socket) = {
        let folder = Arc::new(TempDir::new().unwrap());
        let socket = NotifySocket::bind(folder.path());
        let daemon = Daemon::launch(folder, &redis, &[], |command| {
            // A shell that puts its pid there and becomes the daemon.
            let script = "WATCHDOG_PID=$$ exec \"$0\" \"$@\"";
            let mut shell = run_by(&["/bin/sh", "-c", script], &command);
            shell.env("WATCHDOG_USEC", "100000");
            socket.announce(shell)
        });
        (daemon, socket)
    };
    socket.wait_for("STATUS=Serving requests");
    // More than one, with nothing else going on.
    for _ in 0..3 {
        socket.wait_for("WATCHDOG=1");
    }
    // Under load too.
    let mut client = redis.client();
    client.call("create_user", json!(["alice", "secret"])).ok();
    socket.wait_for("WATCHDOG=1");
    assert!(daemon.stop().success());
}

#[test]
fn gets_no_sign_of_life_that_it_asked_of_another_process() {
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
