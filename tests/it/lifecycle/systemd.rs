//! What systemd is told: ready, what is going on, a sign of life, the end.

use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Daemon, NotifySocket, RedisServer};

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
    // `WATCHDOG_PID` is the daemon's own: a shell writes its pid there and
    // becomes the daemon.
    let (mut daemon, socket) = {
        let folder = Arc::new(TempDir::new().unwrap());
        let socket = NotifySocket::bind(folder.path());
        let daemon = Daemon::launch(folder, &redis, &[], |command| {
            let mut shell = becoming(&command);
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

/// The command, run by a shell that puts its pid into `WATCHDOG_PID` and
/// becomes it.
fn becoming(command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "WATCHDOG_PID=$$ exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear();
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    for (key, value) in command.get_envs() {
        shell.env(key, value.unwrap_or_default());
    }
    shell
}
