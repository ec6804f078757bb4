//! SIGTERM, SIGINT and SIGHUP: stop fetching, finish the requests that have started, requeue the
//! others at the head of the queue in order, exit with 0 within the time limit.

use std::sync::Arc;

use rustix::process::Signal;
use serde_json::json;

use super::{BUSY, CHEAP, ENDLESS, LESS_BUSY, under_load};
use crate::support::{Daemon, RedisServer, Setup, run_by};

/// Log message when the time limit ends before every request is acknowledged.
const NOT_IN_TIME: &str = "not acknowledged in time";

#[test]
fn sigterm_under_load_loses_no_request() {
    loses_no_request_on(Signal::TERM);
}

#[test]
fn sigint_under_load_loses_no_request() {
    loses_no_request_on(Signal::INT);
}

/// Regression: closing the terminal killed the daemon while requests were in flight.
#[test]
fn sighup_under_load_loses_no_request() {
    loses_no_request_on(Signal::HUP);
}

/// As under `nohup`.
#[test]
fn sighup_is_still_ignored_where_it_was_ignored_before() {
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let script = "trap '' HUP; exec \"$0\" \"$@\"";
    let mut daemon = Daemon::launch(folder, &redis, &[], |command| {
        run_by(&["/bin/sh", "-c", script], &command)
    });
    daemon.wait_for_log("daemon: ready");
    daemon.signal(Signal::HUP);
    redis.client().call("get_users", json!({})).ok();
    assert!(daemon.stop().success());
    assert_eq!(daemon.count_in_log("signal=\"SIGTERM\""), 1);
}

fn loses_no_request_on(signal: Signal) {
    let (mut setup, load) = under_load(Setup::with_alice(BUSY), 500);
    setup.daemon.signal(signal);
    let late = load.more(50);
    late.push(&mut setup.client);
    assert_eq!(setup.daemon.wait().code(), Some(0));

    let load = load.and(late);
    let queued = load.assert_answered_or_queued(&mut setup.client);
    assert!(queued > 0, "the daemon was no longer under load");
    assert_eq!(setup.daemon.count_in_log(NOT_IN_TIME), 0);

    setup.daemon.restart_with(CHEAP);
    load.assert_answered(&mut setup.client);
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

#[test]
fn an_idle_daemon_ends_with_0() {
    let mut setup = Setup::with_alice(&[]);
    assert_eq!(setup.daemon.stop().code(), Some(0));
    setup.client.assert_nothing_left();
}

#[test]
fn work_that_takes_too_long_is_left_to_the_next_start() {
    let mut setup = Setup::with_alice(&[("SHUTDOWN_TIMEOUT", "1")]);
    let token = setup.session_of_alice();
    assert!(setup.daemon.stop().success());
    setup.daemon.restart_with(&[ENDLESS]);
    let login = json!({"username": "nobody", "password": "secret"});
    let logins = setup
        .client
        .send_all(vec![("authenticate_user", login); 20]);
    // A reply to a look-up that was pushed after them shows that they have started.
    let look_up = setup.client.call("authenticate_session", json!([token]));
    look_up.ok();

    assert_eq!(setup.daemon.stop().code(), Some(0));
    assert_eq!(setup.daemon.count_in_log(NOT_IN_TIME), 1);

    setup.daemon.restart_with(CHEAP);
    for id in &logins {
        assert_eq!(setup.client.reply(id).ok(), false);
    }
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

#[test]
fn ends_in_time_while_redis_hangs() {
    let settings = [LESS_BUSY, &[("SHUTDOWN_TIMEOUT", "1")]].concat();
    let (mut setup, load) = under_load(Setup::with_alice(&settings), 100);
    setup.redis.hang();
    assert_eq!(setup.daemon.stop().code(), Some(0));
    assert_eq!(setup.daemon.count_in_log(NOT_IN_TIME), 1);

    setup.redis.resume();
    setup.daemon.restart();
    load.assert_answered(&mut setup.client);
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

#[test]
fn ends_in_time_while_redis_is_gone() {
    let settings = [LESS_BUSY, &[("SHUTDOWN_TIMEOUT", "1")]].concat();
    let setup = Setup::with_alice_on(RedisServer::durable(), &settings);
    let (mut setup, load) = under_load(setup, 100);
    setup.redis.kill();
    assert_eq!(setup.daemon.stop().code(), Some(0));
    assert_eq!(setup.daemon.count_in_log(NOT_IN_TIME), 1);

    setup.redis.restart();
    setup.client = setup.redis.client();
    setup.daemon.restart();
    load.assert_answered(&mut setup.client);
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

/// Regression: each further Ctrl-C was ignored until the end of `shutdown_timeout`.
#[test]
fn a_second_ctrl_c_ends_at_once_and_loses_no_request() {
    let mut setup = Setup::with_alice(&[("SHUTDOWN_TIMEOUT", "3600")]);
    let token = setup.session_of_alice();
    assert!(setup.daemon.stop().success());
    setup.daemon.restart_with(&[ENDLESS]);
    let login = json!({"username": "nobody", "password": "secret"});
    let id = setup.client.send("authenticate_user", login);
    // A reply to a look-up that was pushed after it shows that it has started.
    let look_up = setup.client.call("authenticate_session", json!([token]));
    look_up.ok();

    setup.daemon.signal(Signal::INT);
    setup
        .daemon
        .wait_for_log("press Ctrl-C again to end at once");
    setup.daemon.signal(Signal::INT);
    assert_eq!(setup.daemon.wait().code(), Some(130));

    setup.daemon.restart_with(CHEAP);
    assert_eq!(setup.client.reply(&id).ok(), false);
    // A reply to a new request shows that recovery is complete.
    setup.client.call("get_users", json!({})).ok();
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

/// Regression: the daemon tried to reach the queue until the end of `shutdown_timeout`.
#[test]
fn without_redis_the_first_ctrl_c_ends_the_daemon() {
    let mut redis = RedisServer::start();
    redis.kill();
    let mut daemon = Daemon::start(&redis, &[("SHUTDOWN_TIMEOUT", "3600")]);
    daemon.wait_for_log("Redis is unavailable");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().code(), Some(0));
    assert_eq!(daemon.count_in_log(NOT_IN_TIME), 0);

    // Same after Redis was available.
    redis.restart();
    daemon.restart();
    let mut client = redis.client();
    client.call("get_users", json!({})).ok();
    // When Redis answers this, it has also answered the acker.
    let _: String = redis::cmd("PING").query(&mut client.redis).unwrap();
    redis.kill();
    daemon.wait_for_log("Redis is unavailable");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn without_redis_the_log_names_the_address_and_the_remedy() {
    let mut redis = RedisServer::start();
    redis.kill();
    let daemon = Daemon::start(&redis, &[]);
    daemon.wait_for_log("Redis is unavailable");
    let log = daemon.log();
    let lines = log.lines().filter(|line| line.contains(" WARN "));
    let lines: Vec<_> = lines.filter(|line| line.contains("Redis")).collect();
    let [line] = &lines[..] else {
        panic!("{log}");
    };
    let address = format!("cannot reach Redis at {}", redis.url());
    for part in [&*address, "systemctl start redis-server", "redis.url"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
