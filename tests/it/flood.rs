//! More logins than can be served. They take no capacity from look-ups and delay logins under
//! other names only briefly. Requests that would wait too long are refused at once.
//!
//! Hashing threads have a low priority, so a hash may take very long on a loaded machine. No test
//! waits for a slow one.

use serde_json::{Value, json};

use crate::support::{Client, RedisServer, Reply, Setup, wait_until_closed};
use crate::throttle::calls;

/// One hash at a time, so slow that a flood outlasts the test.
const SLOW: [(&str, &str); 3] = [
    ("PASSWORD__THREADS", "1"),
    ("PASSWORD__MEMORY_KIB", "65536"),
    ("PASSWORD__ITERATIONS", "5"),
];

/// One hash at a time, which takes tens of milliseconds.
const MODERATE: [(&str, &str); 3] = [
    ("PASSWORD__THREADS", "1"),
    ("PASSWORD__MEMORY_KIB", "16384"),
    ("PASSWORD__ITERATIONS", "2"),
];

/// Starts a daemon whose hashes are slow. Returns a session of alice too.
fn slow_daemon(settings: &[(&str, &str)]) -> (Setup, String) {
    let mut setup = Setup::with_alice(settings);
    let token = setup.session_of_alice();
    assert!(setup.daemon.stop().success());
    wait_until_closed(&setup.daemon.workdir());
    setup.daemon.restart_with(&SLOW);
    (setup, token)
}

/// Sends logins with a wrong password under one name.
fn flood_one_name(client: &mut Client, name: &str, count: usize) -> Vec<String> {
    client.send_all(vec![("authenticate_user", json!([name, "wrong"])); count])
}

/// Sends logins, each under another unknown name.
fn flood_distinct_names(client: &mut Client, count: usize) -> Vec<String> {
    let names = (0..count).map(|n| json!([format!("unknown-{n}"), "wrong"]));
    client.send_all(names.map(|args| ("authenticate_user", args)))
}

/// Returns the number of answered requests.
fn answered(client: &mut Client, ids: &[String]) -> usize {
    client.answered(ids.iter().map(|id| &**id)).len()
}

/// Returns the seconds after which to retry, or `None` if the request was not refused as busy.
fn busy_delay(reply: &Reply) -> Option<u64> {
    let [error] = reply.errors()[..] else {
        return None;
    };
    let seconds = error.strip_prefix("Too busy, retry in ")?;
    seconds.strip_suffix(" s")?.parse().ok()
}

/// Regression: a flood that filled `max_in_flight` delayed every look-up until most of its logins
/// were hashed.
#[test]
fn waiting_logins_take_no_capacity_from_look_ups() {
    let (mut setup, token) = slow_daemon(&[("MAX_IN_FLIGHT", "100")]);
    let flood = flood_distinct_names(&mut setup.client, 1_000);
    for _ in 0..300 {
        let reply = setup.client.call("authenticate_session", json!([token]));
        assert_eq!(reply.ok()["username"], "alice");
    }
    let answered = answered(&mut setup.client, &flood);
    assert!(
        answered < 500,
        "{answered} of the flood were answered before"
    );
}

#[track_caller]
fn assert_login_overtakes_flood(setup: &mut Setup, flood: &[String]) {
    let login = setup
        .client
        .call("authenticate_user", json!(["alice", "secret"]));
    assert_eq!(login.ok(), true);
    // The login is fetched after the whole flood, and part of the flood runs before that.
    let (answered, all) = (answered(&mut setup.client, flood), flood.len());
    assert!(
        answered < all - all / 10,
        "{answered} of {all} were answered before"
    );
}

/// Regression: with a FIFO queue, the login waited for the whole flood.
#[test]
fn a_login_does_not_wait_for_a_flood_under_another_name() {
    let mut setup = Setup::with_alice(&MODERATE);
    let flood = flood_one_name(&mut setup.client, "bob", 5_000);
    assert_login_overtakes_flood(&mut setup, &flood);
}

/// `create_user` checks the password of the executing user, not of the new one.
#[test]
fn turns_are_shared_by_the_name_whose_password_is_checked() {
    let mut setup = Setup::with_alice(&MODERATE);
    let creation = json!({"username": "alice", "password": "x",
        "executing_user": "bob", "executing_user_password": "wrong"});
    let flood = vec![("create_user", creation); 5_000];
    let flood = setup.client.send_all(flood);
    assert_login_overtakes_flood(&mut setup, &flood);
}

/// Attempts under one name wait for each other in the throttle. They must not hold all turns
/// meanwhile.
#[test]
fn attempts_that_wait_in_the_throttle_leave_turns_to_other_names() {
    let settings = [&MODERATE[..], &[("THROTTLE__FAILURES", "1")]].concat();
    let mut setup = Setup::with_alice(&settings);
    // The attempts are checked one at a time and fail; the others wait in the throttle.
    let flood = flood_one_name(&mut setup.client, "bob", 5_000);
    assert_login_overtakes_flood(&mut setup, &flood);
    let wrong = setup.client.reply(&flood[0]);
    assert_eq!(wrong.ok(), false);
}

/// A wait of 60 s is 1,200 hashes of the initial estimate. The hashes turn out slower than that.
const A_MINUTE: (&str, &str) = ("MAX_LOGIN_WAIT", "60");
const EVENTS: (&str, &str) = ("EVENTS__PUBLISH", "list:home/cellar");

#[test]
fn a_login_over_the_maximum_wait_is_refused_at_once() {
    let (mut setup, _) = slow_daemon(&[A_MINUTE, EVENTS]);
    let flood = flood_distinct_names(&mut setup.client, 3_000);
    let refused = setup.client.reply(&flood[2_999]);
    assert_eq!(refused.output(), &json!(false));
    assert!(busy_delay(&refused).is_some(), "{refused:?}");
    // The output of every action is that of wrong credentials, as for a throttled name, even with
    // the right password.
    for (name, password) in [
        ("unknown", "wrong"),
        ("alice", "wrong"),
        ("alice", "secret"),
    ] {
        for (action, args, output) in calls(name, password, &Value::Null) {
            let reply = setup.client.call(action, args);
            assert_eq!(reply.output(), &output, "{action} for {name}");
            assert!(
                busy_delay(&reply).is_some(),
                "{action} for {name}: {reply:?}"
            );
        }
    }
}

/// The throttle counts no failure and no event is published.
#[test]
fn a_login_refused_as_too_busy_is_not_a_failure() {
    let (mut setup, _) = slow_daemon(&[A_MINUTE, EVENTS, ("THROTTLE__FAILURES", "5")]);
    let _: i64 = redis::cmd("DEL")
        .arg("home/cellar")
        .query(&mut setup.client.redis)
        .unwrap();
    flood_distinct_names(&mut setup.client, 3_000);
    for _ in 0..20 {
        let reply = setup
            .client
            .call("authenticate_user", json!(["alice", "wrong"]));
        assert!(busy_delay(&reply).is_some(), "{reply:?}");
    }
    setup.daemon.kill();
    let events: Vec<String> = redis::cmd("LRANGE")
        .arg(&["home/cellar", "0", "-1"])
        .query(&mut setup.client.redis)
        .unwrap();
    assert!(!events.iter().any(|event| event.contains("alice")));
    let count = crate::throttle::failures_after_kill(&setup, "alice");
    assert_eq!(count, 0);
}

/// Lists of users wait for turns of their own class, not for logins.
#[test]
fn lists_over_the_maximum_wait_are_refused_at_once() {
    let setup = &mut Setup::on(RedisServer::start(), &[("MAX_LOGIN_WAIT", "1")]);
    // All of them are fetched in one batch, before the first list is sent.
    let lists = vec![("get_users", json!([])); 100];
    let ids = setup.client.send_all(lists);
    let replies: Vec<_> = ids.iter().map(|id| setup.client.reply(id)).collect();
    let (refused, listed): (Vec<_>, Vec<_>) = replies
        .iter()
        .partition(|reply| busy_delay(reply).is_some());
    // One runs and 65 wait, if none finishes meanwhile.
    assert!((1..=34).contains(&refused.len()), "{}", refused.len());
    for reply in listed {
        assert_eq!(reply.ok(), &json!([]));
    }
    for reply in refused {
        assert_eq!(reply.output(), &json!({"success": false}));
    }
}

/// The requests return to the queue in their order, and the next daemon runs them.
#[test]
fn a_stop_requeues_requests_that_wait_for_a_turn() {
    let settings = [&MODERATE[..], &[("SHUTDOWN_TIMEOUT", "60")]].concat();
    let mut setup = Setup::with_alice(&settings);
    let mut flood = flood_one_name(&mut setup.client, "bob", 20);
    flood.extend(flood_distinct_names(&mut setup.client, 20));
    // All of them were fetched once the request behind them is answered.
    setup.client.call("authenticate_session", json!(["none"]));
    assert!(setup.daemon.stop().success());
    let queued: usize = redis::cmd("LLEN")
        .arg(crate::support::QUEUE)
        .query(&mut setup.client.redis)
        .unwrap();
    assert_eq!(answered(&mut setup.client, &flood) + queued, 40);
    setup
        .daemon
        .restart_with(&[("PASSWORD__MEMORY_KIB", "8"), ("PASSWORD__ITERATIONS", "1")]);
    for id in &flood {
        assert_eq!(setup.client.reply(id).ok(), false);
    }
    setup.client.assert_nothing_left();
}
