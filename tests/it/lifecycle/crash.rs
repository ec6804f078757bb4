//! The process is killed, or ends itself: the next start goes on with what
//! was under way.

use std::os::unix::process::ExitStatusExt as _;

use redis::Commands as _;
use rustix::process::{Pid, Signal};
use serde_json::json;

use super::LESS_BUSY;
use crate::support::strace::{end_tracer, under_strace};
use crate::support::{Daemon, Load, QUEUE, Setup};

#[test]
fn kill_9_under_load_loses_no_request() {
    let mut setup = Setup::with_alice(LESS_BUSY);
    let mut load = Load::new(&setup.session_of_alice(), 0);
    for round in 0..8 {
        let more = load.more(50);
        more.push(&mut setup.client);
        // At another point of the work each time, the first time before any.
        if round > 0 {
            setup.client.await_reply(more.logins()[round - 1]);
        }
        load = load.and(more);
        setup.daemon.kill();
        setup.daemon.restart();
    }
    load.assert_answered(&mut setup.client);
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

/// The disk hangs: the first write to the database waits for an `fdatasync`
/// that does not come back. What it was about had reached the kernel, and is
/// not done again.
#[test]
fn a_writer_that_hangs_ends_the_process_and_the_next_start_answers() {
    let mut setup = Setup::with_alice(&[]);
    let token = setup.session_of_alice();
    assert!(setup.daemon.stop().success());
    let folder = setup.daemon.folder();
    let impatient = [("WRITE_TIMEOUT", "1")];
    let mut daemon = Daemon::launch(folder, &setup.redis, &impatient, |command| {
        let hang = "inject=fdatasync:delay_enter=60000000";
        let options = ["-e", "trace=fdatasync", "-e", hang, "-o", "/dev/null"];
        under_strace(&command, &options)
    });
    // strace has something to say that is "already" so.
    daemon.wait_for_log("daemon: ready");

    let client = &mut setup.client;
    let bob = json!({"username": "bob", "password": "secret", "session_token": token});
    let creation = client.send("create_user", bob);
    daemon.wait_for_log("the disk or the database hangs");
    // strace would keep the dead process until the delay is over.
    end_tracer(&daemon);
    let status = daemon.wait();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));

    // A busy machine may take longer than a second for a write.
    daemon.restart_with(&[("WRITE_TIMEOUT", "120")]);
    assert_eq!(client.reply(&creation).ok()["user_id"], 2);
    let right = client.call("authenticate_user", json!(["bob", "secret"]));
    assert_eq!(right.ok(), true);
    assert!(daemon.stop().success());
    client.assert_nothing_left();
}

/// What a crash had left was read and admitted at once, and ended the process
/// again.
#[test]
fn what_a_crash_left_comes_in_under_the_budget() {
    let mut setup = Setup::new();
    setup.daemon.kill();
    let workdir = setup.daemon.workdir();
    let store = std::fs::read_to_string(workdir.join("store.id")).unwrap();
    let store = store.trim();
    let list = format!("{QUEUE}:processing:{store}:{}:0", "07".repeat(16));
    // Too long to be decoded, which would take a while.
    let message = vec![b'x'; 1_000_000];
    for _ in 0..128 {
        let _: () = setup.client.redis.rpush(&list, &message).unwrap();
    }
    let lists = format!("{QUEUE}:lists:{store}");
    let _: () = setup.client.redis.sadd(lists, list).unwrap();
    let settings = [("MAX_IN_FLIGHT", "2"), ("MAX_MESSAGE_SIZE", "1024")];
    setup.daemon.restart_with(&settings);
    // Part of the list is settled, part of it is not read, at the next crash.
    let dead = format!("{QUEUE}:dead");
    let first: Option<String> = redis::cmd("BLMOVE")
        .arg(&[&dead, &dead, "LEFT", "LEFT", "60"])
        .query(&mut setup.client.redis)
        .unwrap();
    assert!(first.is_some());
    let before = peak_memory_mib(setup.daemon.pid());
    setup.daemon.kill();
    setup.daemon.restart();
    let after = setup.client.call("authenticate_session", json!(["x"]));
    after.fails("Invalid session token");
    assert_eq!(setup.client.dead_letters().len(), 128);
    let peaks = [before, peak_memory_mib(setup.daemon.pid())];
    assert!(peaks.iter().all(|peak| *peak < 80), "{peaks:?} MiB");
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

fn peak_memory_mib(pid: Pid) -> usize {
    let status = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = std::fs::read_to_string(status).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.parse::<usize>().unwrap() / 1024
}
