//! An event is published at most once over crashes and lost answers, and exactly once while both
//! daemon and Redis run.

use std::os::unix::process::ExitStatusExt as _;

use redis::Commands as _;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{LIST, LOST, ONLY_LIST, arguments, pop};
use crate::admin::admin;
use crate::support::line::{Lose, Proxy};
use crate::support::{Client, Daemon, RedisServer, Setup, wait_until_closed};

/// Returns the arguments of all events in the list, up to that of a login that this function
/// makes.
fn published(client: &mut Client) -> Vec<Value> {
    let last = json!(["alice", "secret", null, 1_924_948_800]);
    client.call("create_session", last).ok();
    let mut published = Vec::new();
    loop {
        let (args, _) = arguments(&pop(&mut client.redis));
        if args["kind"] == "session_created" {
            return published;
        }
        published.push(args);
    }
}

/// Crashes a daemon at a crash point while it runs a request, and has the next one answer it.
/// Returns the number of events. Without `first`, only the second daemon publishes.
fn events_over_crash(point: &str, first: bool, throttle: &str, request: (&str, Value)) -> usize {
    let settings = [ONLY_LIST, ("THROTTLE__FAILURES", throttle)];
    let mut setup = Setup::with_alice(&settings);
    let token = setup.session_of_alice();
    pop(&mut setup.client.redis);
    pop(&mut setup.client.redis);
    assert!(setup.daemon.stop().success());
    wait_until_closed(&setup.daemon.workdir());
    let (action, mut args) = request;
    if action == "create_user" {
        args["session_token"] = json!(token);
    }
    let id = setup.client.send(action, args);
    let settings = &settings[usize::from(!first)..];
    let folder = setup.daemon.folder();
    let mut crashing = Daemon::launch(folder, &setup.redis, settings, |mut command| {
        command.env("USERD_CRASH_AT", format!("{point}:1"));
        command
    });
    assert_eq!(crashing.wait().signal(), Some(Signal::ABORT.as_raw()));
    wait_until_closed(&setup.daemon.workdir());
    setup.daemon.restart();
    setup.client.reply(&id);
    published(&mut setup.client).len()
}

fn create_bob() -> (&'static str, Value) {
    (
        "create_user",
        json!({"username": "bob", "password": "secret"}),
    )
}

fn guess() -> (&'static str, Value) {
    ("create_session", json!(["alice", "wrong"]))
}

/// The first daemon crashed between the effect and its event, so the event is lost.
#[test]
fn an_effect_from_before_the_crash_is_not_published_by_the_next_daemon() {
    for point in ["after flush", "before reply"] {
        for request in [create_bob(), guess()] {
            assert_eq!(events_over_crash(point, false, "5", request), 0, "{point}");
        }
    }
}

#[test]
fn a_request_without_effect_before_the_crash_is_published_by_the_next_daemon() {
    for point in ["before commit", "after commit"] {
        for request in [create_bob(), guess()] {
            assert_eq!(events_over_crash(point, true, "5", request), 1, "{point}");
        }
    }
}

#[test]
fn no_event_is_published_twice_over_a_crash() {
    for point in ["before reply", "after reply"] {
        for request in [create_bob(), guess()] {
            let events = events_over_crash(point, true, "5", request);
            assert!(events <= 1, "{point}: {events}");
        }
    }
}

/// Without the throttle, the store has no record of the failure, so a redelivered request fails
/// again.
#[test]
fn an_uncounted_failure_is_not_published_again() {
    assert_eq!(events_over_crash("before reply", false, "0", guess()), 0);
}

#[test]
fn kill_9_under_load_publishes_nothing_twice() {
    let mut setup = Setup::with_alice(&[ONLY_LIST, ("PASSWORD__THREADS", "1")]);
    let token = setup.session_of_alice();
    let mut ids = Vec::new();
    for round in 0..6 {
        let users = (0..40).map(|number| {
            let name = format!("user {round} {number}");
            let args = json!({"username": name, "password": "secret", "session_token": token});
            ("create_user", args)
        });
        let more = setup.client.send_all(users);
        setup.client.await_reply(&more[round * 5]);
        ids.extend(more);
        setup.daemon.kill();
        setup.daemon.restart();
    }
    for id in &ids {
        setup.client.reply(id).ok();
    }
    pop(&mut setup.client.redis);
    pop(&mut setup.client.redis);
    let events = published(&mut setup.client);
    let mut names: Vec<_> = events
        .iter()
        .map(|args| args["username"].as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), events.len(), "{events:?}");
    assert!(
        events.len() > 40,
        "{} of {} were published",
        events.len(),
        ids.len()
    );
}

/// Redis has the event, and the answer to the daemon is lost.
#[test]
fn an_event_with_a_lost_answer_is_not_sent_again() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis);
    let settings = [ONLY_LIST, ("REDIS__URL", &proxy.url())];
    let mut setup = Setup::with_alice_on(redis, &settings);
    pop(&mut setup.client.redis);
    for round in 1..=3 {
        proxy.lose(Lose::AnswerTo("login_failed".into()));
        let (action, args) = guess();
        setup.client.call(action, args);
        assert_eq!(published(&mut setup.client).len(), 1);
        assert_eq!(proxy.lost_answers(), round);
    }
    setup.daemon.wait_for_log(LOST);
}

/// Redis closes an idle connection: the next event is sent on a new one.
#[test]
fn a_closed_idle_connection_loses_no_event() {
    let mut setup = Setup::with_alice(&[ONLY_LIST]);
    pop(&mut setup.client.redis);
    for _ in 0..3 {
        let _: () = redis::cmd("CLIENT")
            .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
            .query(&mut setup.client.redis)
            .unwrap();
        let (action, args) = guess();
        setup.client.call(action, args);
        let (args, _) = arguments(&pop(&mut setup.client.redis));
        assert_eq!(args["kind"], "login_failed");
    }
    assert_eq!(setup.daemon.count_in_log(LOST), 0);
}

#[test]
fn events_from_an_outage_of_redis_are_published_after_it() {
    let mut setup = Setup::with_alice(&[ONLY_LIST]);
    setup.redis.kill();
    let workdir = setup.daemon.workdir();
    admin(&workdir, &["delete-sessions", "alice"], "").ok();
    admin(&workdir, &["reset-password", "alice"], "other\n").ok();
    setup.redis.restart();
    setup.client = setup.redis.client();
    for kind in ["session_deleted", "password_updated", "api_token_deleted"] {
        let (args, _) = arguments(&pop(&mut setup.client.redis));
        assert_eq!(args["kind"], kind);
    }
    let left: usize = setup.client.redis.llen(LIST).unwrap();
    assert_eq!(left, 0);
}

/// A daemon that waited for Redis would never stop.
#[test]
fn shutdown_does_not_wait_for_an_unavailable_redis() {
    let mut setup = Setup::with_alice(&[ONLY_LIST, ("SHUTDOWN_TIMEOUT", "1")]);
    pop(&mut setup.client.redis);
    setup.redis.kill();
    admin(&setup.daemon.workdir(), &["delete-sessions", "alice"], "").ok();
    setup.daemon.wait_for_log("events wait for Redis");
    assert!(setup.daemon.stop().success());
    let log = setup.daemon.log();
    let lost = [
        r#"lost=1 why="Redis is unavailable""#,
        "not all events were published",
    ];
    assert!(lost.iter().any(|text| log.contains(text)), "{log}");
}

/// Only the first of many equal requests has an effect; the others publish nothing.
#[test]
fn concurrent_equal_requests_publish_one_event() {
    const REQUESTS: usize = 16;
    let mut setup = Setup::with_alice(&[ONLY_LIST, ("PASSWORD__THREADS", "8")]);
    let token = setup.session_of_alice();
    let last = setup.session_of_alice();
    for _ in ["alice", "a session", "another"] {
        pop(&mut setup.client.redis);
    }
    let bob = json!({"username": "bob", "password": "secret", "session_token": token});
    let by_token = json!({"username": "bob", "session_token": token});
    for (action, args, kind) in [
        ("create_user", bob, "user_created"),
        ("delete_user", by_token, "user_deleted"),
        ("delete_session", json!([last]), "session_deleted"),
    ] {
        let ids = setup.client.send_all(vec![(action, args); REQUESTS]);
        for id in &ids {
            setup.client.reply(id);
        }
        let events = published(&mut setup.client);
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0]["kind"], kind);
    }
}
