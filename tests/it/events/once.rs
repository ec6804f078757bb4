//! An event is told once at most, whatever dies in between, and told if Redis
//! is there.

use std::os::unix::process::ExitStatusExt as _;

use redis::Commands as _;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{LIST, LOST, ONLY_LIST, arguments, pop};
use crate::admin::admin;
use crate::support::line::{Line, Lose};
use crate::support::{Client, Daemon, RedisServer, Setup, wait_until_closed};

/// The kinds of all that the list was told, up to a login that is made now.
fn told(client: &mut Client) -> Vec<Value> {
    let last = json!(["alice", "secret", null, 1_924_948_800]);
    client.call("create_session", last).ok();
    let mut told = Vec::new();
    loop {
        let (args, _) = arguments(&pop(&mut client.redis));
        if args["kind"] == "session_created" {
            return told;
        }
        told.push(args);
    }
}

/// A daemon dies at a point with a request in hand, and the next one answers.
/// Gives what was told of it; without `first`, only by the next one.
fn told_over_a_crash(point: &str, first: bool, throttle: &str, request: (&str, Value)) -> usize {
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
    let mut doomed = Daemon::launch(folder, &setup.redis, settings, |mut command| {
        command.env("USERD_CRASH_AT", format!("{point}:1"));
        command
    });
    assert_eq!(doomed.wait().signal(), Some(Signal::ABORT.as_raw()));
    wait_until_closed(&setup.daemon.workdir());
    setup.daemon.restart();
    setup.client.reply(&id);
    told(&mut setup.client).len()
}

fn bob() -> (&'static str, Value) {
    (
        "create_user",
        json!({"username": "bob", "password": "secret"}),
    )
}

fn guess() -> (&'static str, Value) {
    ("create_session", json!(["alice", "wrong"]))
}

/// Here it is the first daemon that would have told, and died before it could.
#[test]
fn what_had_its_effect_before_is_not_told_by_the_next_daemon() {
    for point in ["after flush", "before reply"] {
        for request in [bob(), guess()] {
            assert_eq!(told_over_a_crash(point, false, "5", request), 0, "{point}");
        }
    }
}

#[test]
fn what_had_no_effect_before_is_told_by_the_next_daemon() {
    for point in ["before commit", "after commit"] {
        for request in [bob(), guess()] {
            assert_eq!(told_over_a_crash(point, true, "5", request), 1, "{point}");
        }
    }
}

#[test]
fn nothing_is_told_twice_over_a_crash() {
    for point in ["before reply", "after reply"] {
        for request in [bob(), guess()] {
            let told = told_over_a_crash(point, true, "5", request);
            assert!(told <= 1, "{point}: {told}");
        }
    }
}

/// A failure that is not counted happens again when its request is delivered
/// again.
#[test]
fn a_failure_that_is_not_counted_is_not_told_again() {
    assert_eq!(told_over_a_crash("before reply", false, "0", guess()), 0);
}

#[test]
fn kill_9_under_load_tells_nothing_twice() {
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
    let told = told(&mut setup.client);
    let mut names: Vec<_> = told.iter().map(|args| args["username"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), told.len(), "{told:?}");
    assert!(told.len() > 40, "{} of {} were told", told.len(), ids.len());
}

/// Redis has it, and the daemon does not know.
#[test]
fn an_event_whose_answer_is_lost_is_not_sent_again() {
    let redis = RedisServer::start();
    let line = Line::to(&redis);
    let settings = [ONLY_LIST, ("REDIS__URL", &line.url())];
    let mut setup = Setup::with_alice_on(redis, &settings);
    pop(&mut setup.client.redis);
    for round in 1..=3 {
        line.lose(Lose::AnswerTo("login_failed".into()));
        let (action, args) = guess();
        setup.client.call(action, args);
        assert_eq!(told(&mut setup.client).len(), 1);
        assert_eq!(line.cuts(), round);
    }
    setup.daemon.wait_for_log(LOST);
}

/// The connection has ended while nothing happened: the next event finds
/// another one, and is not lost.
#[test]
fn a_connection_that_ended_meanwhile_costs_no_event() {
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
fn what_happens_while_redis_is_away_is_told_when_it_is_back() {
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

/// It would never end, if it waited for Redis.
#[test]
fn a_redis_that_is_away_does_not_hold_up_the_end() {
    let mut setup = Setup::with_alice(&[ONLY_LIST, ("SHUTDOWN_TIMEOUT", "1")]);
    pop(&mut setup.client.redis);
    setup.redis.kill();
    admin(&setup.daemon.workdir(), &["delete-sessions", "alice"], "").ok();
    setup.daemon.wait_for_log("events wait for Redis");
    assert!(setup.daemon.stop().success());
    let log = setup.daemon.log();
    let lost = [
        r#"lost=1 why="Redis is away""#,
        "not all events were published",
    ];
    assert!(lost.iter().any(|text| log.contains(text)), "{log}");
}

/// Whoever comes too late changed nothing, and nothing is told of it.
#[test]
fn what_many_ask_for_at_once_is_told_as_often_as_it_happens() {
    const MANY: usize = 16;
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
        let ids = setup.client.send_all(vec![(action, args); MANY]);
        for id in &ids {
            setup.client.reply(id);
        }
        let told = told(&mut setup.client);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["kind"], kind);
    }
}
