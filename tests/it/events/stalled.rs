//! A connection for events on which nothing moves any more holds up nobody.

use redis::Commands as _;
use serde_json::json;

use super::{LIST, LOST, ONLY_LIST, arguments, pop};
use crate::support::line::Line;
use crate::support::{Client, RedisServer, Setup};

/// What stands in each event of these tests and in nothing before.
const EVENT: &str = "login_failed";

fn on_a_line() -> (Setup, Line) {
    let redis = RedisServer::start();
    let line = Line::to(&redis);
    let settings = [ONLY_LIST, ("REDIS__URL", &line.url())];
    let mut setup = Setup::with_alice_on(redis, &settings);
    pop(&mut setup.client.redis);
    (setup, line)
}

fn guess(client: &mut Client) {
    let reply = client.call("create_session", json!(["alice", "wrong"]));
    reply.fails("Invalid credentials");
}

#[test]
fn replies_do_not_wait_for_events() {
    let (mut setup, line) = on_a_line();
    line.silence(EVENT);
    guess(&mut setup.client);
    // No other event is sent together with this one.
    line.wait_for_silence();
    let wrong = ("create_session", json!(["alice", "wrong"]));
    for id in setup.client.send_all(vec![wrong; 19]) {
        setup.client.reply(&id).fails("Invalid credentials");
    }
    // Before its time-out has told the daemon of it.
    assert_eq!(setup.daemon.count_in_log(LOST), 0);
    assert_eq!(line.silences(), 1);
    let told: usize = setup.client.redis.llen(LIST).unwrap();
    assert_eq!(told, 0);

    // Then the daemon gives that connection up, and takes another one. What
    // had not been sent is still there.
    line.end_silence();
    for _ in 0..19 {
        let (args, _) = arguments(&pop(&mut setup.client.redis));
        assert_eq!(args["kind"], "login_failed");
    }
    assert_eq!(setup.daemon.count_in_log(LOST), 1);
    assert_eq!(line.silences(), 1);
}

#[test]
fn the_end_does_not_wait_for_events() {
    let redis = RedisServer::start();
    let line = Line::to(&redis);
    let url = line.url();
    let settings = [
        ONLY_LIST,
        ("REDIS__URL", &url),
        ("SHUTDOWN_TIMEOUT", "3600"),
    ];
    let mut setup = Setup::with_alice_on(redis, &settings);
    pop(&mut setup.client.redis);
    line.silence(EVENT);
    guess(&mut setup.client);
    assert!(setup.daemon.stop().success());
    let log = setup.daemon.log();
    assert!(
        log.contains("not all events were published in time"),
        "{log}"
    );
    assert!(!log.contains("not everything was settled"), "{log}");
    // It did not wait for the time-out either.
    assert!(!log.contains(LOST), "{log}");
}
