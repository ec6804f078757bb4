//! The process is killed or aborts: the next start recovers the requests that were in flight.

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
        // Kill at another point each round; in the first round, before any reply.
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

/// The disk hangs: the `fdatasync` of the first write to the database does not return. The kernel
/// already has the data, so the next start finds the effect and does not repeat it.
#[test]
fn a_write_that_hangs_aborts_the_process_and_the_next_start_answers() {
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
    // Not just "ready": strace prints a message with the word "already".
    daemon.wait_for_log("daemon: ready");

    let client = &mut setup.client;
    let bob = json!({"username": "bob", "password": "secret", "session_token": token});
    let creation = client.send("create_user", bob);
    daemon.wait_for_log("the disk or the database hangs");
    // strace would hold the dead process until the delay is over.
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

/// Regression: recovery read and admitted all requests of a crash at once, which ended the process
/// again.
#[test]
fn recovery_stays_within_the_fetch_budget() {
    let mut setup = Setup::new();
    setup.daemon.kill();
    let workdir = setup.daemon.workdir();
    let store = std::fs::read_to_string(workdir.join("store.id")).unwrap();
    let store = store.trim();
    let list = format!("{QUEUE}:processing:{store}:{}:0", "07".repeat(16));
    // Over the size limit, so that no time is spent on decoding.
    let message = vec![b'x'; 1_000_000];
    for _ in 0..128 {
        let _: () = setup.client.redis.rpush(&list, &message).unwrap();
    }
    let lists = format!("{QUEUE}:lists:{store}");
    let _: () = setup.client.redis.sadd(lists, list).unwrap();
    let settings = [("MAX_IN_FLIGHT", "2"), ("MAX_MESSAGE_SIZE", "1024")];
    setup.daemon.restart_with(&settings);
    // At the next crash, part of the list is acknowledged and part of it is unread.
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
