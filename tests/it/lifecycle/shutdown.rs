//! SIGTERM and SIGINT: stop taking, finish what has started, give the rest
//! back to the head of the queue in order, exit with 0 in time.

use std::sync::Arc;

use rustix::process::Signal;
use serde_json::json;

use super::{BUSY, CHEAP, ENDLESS, LESS_BUSY, under_load};
use crate::support::{Daemon, RedisServer, Setup, run_by};

/// What the log says when the time was up before all was settled.
const NOT_IN_TIME: &str = "not everything was settled in time";

#[test]
fn sigterm_under_load_loses_no_request() {
    loses_no_request_on(Signal::TERM);
}

#[test]
fn sigint_under_load_loses_no_request() {
    loses_no_request_on(Signal::INT);
}

/// Regression: a closed terminal killed the daemon in the middle of its work.
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
    assert!(queued > 0, "it was not under load any more");
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
    // They have started when a look-up behind them is answered.
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

    setup.redis.go_on();
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

/// It waited for all of shutdown_timeout, however often it was pressed.
#[test]
fn a_second_ctrl_c_ends_at_once_and_loses_no_request() {
    let mut setup = Setup::with_alice(&[("SHUTDOWN_TIMEOUT", "3600")]);
    let token = setup.session_of_alice();
    assert!(setup.daemon.stop().success());
    setup.daemon.restart_with(&[ENDLESS]);
    let login = json!({"username": "nobody", "password": "secret"});
    let id = setup.client.send("authenticate_user", login);
    // It has started when a look-up behind it is answered.
    let look_up = setup.client.call("authenticate_session", json!([token]));
    look_up.ok();

    setup.daemon.signal(Signal::INT);
    setup.daemon.wait_for_log("Ctrl-C again ends it at once");
    setup.daemon.signal(Signal::INT);
    assert_eq!(setup.daemon.wait().code(), Some(130));

    setup.daemon.restart_with(CHEAP);
    assert_eq!(setup.client.reply(&id).ok(), false);
    // All that was left has been taken over when something new is answered.
    setup.client.call("get_users", json!({})).ok();
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

/// It tried for all of shutdown_timeout to leave a queue that nobody could
/// reach.
#[test]
fn without_redis_the_first_ctrl_c_ends_it() {
    let mut redis = RedisServer::start();
    redis.kill();
    let mut daemon = Daemon::start(&redis, &[("SHUTDOWN_TIMEOUT", "3600")]);
    daemon.wait_for_log("Redis does not do its part");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().code(), Some(0));
    assert_eq!(daemon.count_in_log(NOT_IN_TIME), 0);

    // The same where it has been there.
    redis.restart();
    daemon.restart();
    let mut client = redis.client();
    client.call("get_users", json!({})).ok();
    // When Redis answers this, it has said that the reply is settled.
    let _: String = redis::cmd("PING").query(&mut client.redis).unwrap();
    redis.kill();
    daemon.wait_for_log("Redis does not do its part");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn without_redis_the_log_says_where_it_was_looked_for_and_what_to_do() {
    let mut redis = RedisServer::start();
    redis.kill();
    let daemon = Daemon::start(&redis, &[]);
    daemon.wait_for_log("Redis does not do its part");
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
