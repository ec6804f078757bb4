//! More logins than can be served: they take no room from look-ups, no turn
//! from other names for long, and what cannot be served in useful time is
//! refused at once.
//!
//! Hashing threads have a low priority, so on a loaded machine a hash may take
//! very long. No test waits for a slow one.

use serde_json::{Value, json};

use crate::support::{Client, RedisServer, Reply, Setup, wait_until_closed};
use crate::throttle::calls;

/// One hash at a time, so slow that a flood is not over before the test is.
const SLOW: [(&str, &str); 3] = [
    ("PASSWORD__THREADS", "1"),
    ("PASSWORD__MEMORY_KIB", "65536"),
    ("PASSWORD__ITERATIONS", "5"),
];

/// One hash at a time, of some hundredths of a second.
const MODERATE: [(&str, &str); 3] = [
    ("PASSWORD__THREADS", "1"),
    ("PASSWORD__MEMORY_KIB", "16384"),
    ("PASSWORD__ITERATIONS", "2"),
];

/// A daemon whose hashes are slow, and a session of alice from before.
fn slow(settings: &[(&str, &str)]) -> (Setup, String) {
    let mut setup = Setup::with_alice(settings);
    let token = setup.session_of_alice();
    assert!(setup.daemon.stop().success());
    wait_until_closed(&setup.daemon.workdir());
    setup.daemon.restart_with(&SLOW);
    (setup, token)
}

/// Wrong logins for one name.
fn for_one_name(client: &mut Client, name: &str, count: usize) -> Vec<String> {
    client.send_all(vec![("authenticate_user", json!([name, "wrong"])); count])
}

/// Wrong logins, each for a name of its own that nobody has.
fn for_distinct_names(client: &mut Client, count: usize) -> Vec<String> {
    let names = (0..count).map(|n| json!([format!("nobody-{n}"), "wrong"]));
    client.send_all(names.map(|args| ("authenticate_user", args)))
}

fn answered(client: &mut Client, ids: &[String]) -> usize {
    client.answered(ids.iter().map(|id| &**id)).len()
}

/// Seconds after which to try again, where a request was refused as too many
/// wait.
fn busy(reply: &Reply) -> Option<u64> {
    let [error] = reply.errors()[..] else {
        return None;
    };
    let seconds = error.strip_prefix("Too busy, retry in ")?;
    seconds.strip_suffix(" s")?.parse().ok()
}

/// A flood that filled `max_in_flight` kept every look-up unanswered until most
/// of it was hashed.
#[test]
fn logins_that_wait_take_no_room_from_look_ups() {
    let (mut setup, token) = slow(&[("MAX_IN_FLIGHT", "100")]);
    let flood = for_distinct_names(&mut setup.client, 1_000);
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
fn assert_another_name_is_served(setup: &mut Setup, flood: &[String]) {
    let login = setup
        .client
        .call("authenticate_user", json!(["alice", "secret"]));
    assert_eq!(login.ok(), true);
    // While it was read behind all of them, some of them had their turn.
    let (answered, all) = (answered(&mut setup.client, flood), flood.len());
    assert!(
        answered < all - all / 10,
        "{answered} of {all} were answered before"
    );
}

/// First come first served kept it behind all of them.
#[test]
fn a_login_does_not_wait_for_the_flood_under_another_name() {
    let mut setup = Setup::with_alice(&MODERATE);
    let flood = for_one_name(&mut setup.client, "bob", 5_000);
    assert_another_name_is_served(&mut setup, &flood);
}

/// The action that makes a user checks the password of the executing one.
#[test]
fn the_name_that_takes_turns_is_the_one_whose_password_is_checked() {
    let mut setup = Setup::with_alice(&MODERATE);
    let creation = json!({"username": "alice", "password": "x",
        "executing_user": "bob", "executing_user_password": "wrong"});
    let flood = vec![("create_user", creation); 5_000];
    let flood = setup.client.send_all(flood);
    assert_another_name_is_served(&mut setup, &flood);
}

/// Attempts of one name wait for each other at the throttle's gate: while they
/// do, they must not hold all turns.
#[test]
fn attempts_at_the_gate_of_the_throttle_leave_turns_to_other_names() {
    let settings = [&MODERATE[..], &[("THROTTLE__FAILURES", "1")]].concat();
    let mut setup = Setup::with_alice(&settings);
    // One at a time is tried, and fails; the others wait at the gate.
    let flood = for_one_name(&mut setup.client, "bob", 5_000);
    assert_another_name_is_served(&mut setup, &flood);
    let wrong = setup.client.reply(&flood[0]);
    assert_eq!(wrong.ok(), false);
}

/// A wait of 60 s is 1,200 hashes as they are estimated at first, and more as
/// they turn out to be.
const A_MINUTE: (&str, &str) = ("MAX_LOGIN_WAIT", "60");
const EVENTS: (&str, &str) = ("EVENTS__PUBLISH", "list:home/cellar");

#[test]
fn a_login_that_would_wait_too_long_is_refused_at_once() {
    let (mut setup, _) = slow(&[A_MINUTE, EVENTS]);
    let flood = for_distinct_names(&mut setup.client, 3_000);
    let refused = setup.client.reply(&flood[2_999]);
    assert_eq!(refused.output(), &json!(false));
    assert!(busy(&refused).is_some(), "{refused:?}");
    // Whatever the action, it looks like wrong credentials, as it does when
    // the name is throttled; the right password of a user is no better.
    for (name, password) in [("nobody", "wrong"), ("alice", "wrong"), ("alice", "secret")] {
        for (action, args, output) in calls(name, password, &Value::Null) {
            let reply = setup.client.call(action, args);
            assert_eq!(reply.output(), &output, "{action} for {name}");
            assert!(busy(&reply).is_some(), "{action} for {name}: {reply:?}");
        }
    }
}

/// Neither as a failure nor as an event.
#[test]
fn what_is_refused_as_too_busy_is_not_counted() {
    let (mut setup, _) = slow(&[A_MINUTE, EVENTS, ("THROTTLE__FAILURES", "5")]);
    let _: i64 = redis::cmd("DEL")
        .arg("home/cellar")
        .query(&mut setup.client.redis)
        .unwrap();
    for_distinct_names(&mut setup.client, 3_000);
    for _ in 0..20 {
        let reply = setup
            .client
            .call("authenticate_user", json!(["alice", "wrong"]));
        assert!(busy(&reply).is_some(), "{reply:?}");
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

/// Listing all users has a turn of its own, and a list is not refused for
/// logins that wait.
#[test]
fn lists_that_would_wait_too_long_are_refused_at_once() {
    let setup = &mut Setup::on(RedisServer::start(), &[("MAX_LOGIN_WAIT", "1")]);
    // All of them are taken in one batch, before the first list is sent.
    let lists = vec![("get_users", json!([])); 100];
    let ids = setup.client.send_all(lists);
    let replies: Vec<_> = ids.iter().map(|id| setup.client.reply(id)).collect();
    let (refused, listed): (Vec<_>, Vec<_>) =
        replies.iter().partition(|reply| busy(reply).is_some());
    // One had its turn, and 65 waited, if none was done meanwhile.
    assert!((1..=34).contains(&refused.len()), "{}", refused.len());
    for reply in listed {
        assert_eq!(reply.ok(), &json!([]));
    }
    for reply in refused {
        assert_eq!(reply.output(), &json!({"success": false}));
    }
}

/// Given back in their order, and run by the next start.
#[test]
fn a_stop_gives_back_what_waits_for_its_turn() {
    let settings = [&MODERATE[..], &[("SHUTDOWN_TIMEOUT", "60")]].concat();
    let mut setup = Setup::with_alice(&settings);
    let mut flood = for_one_name(&mut setup.client, "bob", 20);
    flood.extend(for_distinct_names(&mut setup.client, 20));
    // They have been taken when the one behind them is answered.
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
