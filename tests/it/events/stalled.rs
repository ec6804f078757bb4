//! A stalled event connection delays neither replies nor the shutdown.

use redis::Commands as _;
use serde_json::json;

use super::{LIST, LOST, ONLY_LIST, arguments, pop};
use crate::support::line::Proxy;
use crate::support::{Client, RedisServer, Setup};

/// Text that every event of these tests contains and no earlier traffic does.
const EVENT: &str = "login_failed";

/// Starts a daemon that reaches Redis through a proxy.
fn behind_proxy() -> (Setup, Proxy) {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis);
    let settings = [ONLY_LIST, ("REDIS__URL", &proxy.url())];
    let mut setup = Setup::with_alice_on(redis, &settings);
    pop(&mut setup.client.redis);
    (setup, proxy)
}

fn guess(client: &mut Client) {
    let reply = client.call("create_session", json!(["alice", "wrong"]));
    reply.fails("Invalid credentials");
}

#[test]
fn replies_do_not_wait_for_events() {
    let (mut setup, proxy) = behind_proxy();
    proxy.stall_on(EVENT);
    guess(&mut setup.client);
    // Otherwise other events could be sent in the same round trip.
    proxy.wait_for_stall();
    let wrong = ("create_session", json!(["alice", "wrong"]));
    for id in setup.client.send_all(vec![wrong; 19]) {
        setup.client.reply(&id).fails("Invalid credentials");
    }
    // The answer has not timed out yet.
    assert_eq!(setup.daemon.count_in_log(LOST), 0);
    assert_eq!(proxy.stalls(), 1);
    let published: usize = setup.client.redis.llen(LIST).unwrap();
    assert_eq!(published, 0);

    // After the timeout, the daemon opens another connection and sends the events that are still
    // in the queue.
    proxy.stop_stalling();
    for _ in 0..19 {
        let (args, _) = arguments(&pop(&mut setup.client.redis));
        assert_eq!(args["kind"], "login_failed");
    }
    assert_eq!(setup.daemon.count_in_log(LOST), 1);
    assert_eq!(proxy.stalls(), 1);
}

#[test]
fn shutdown_does_not_wait_for_events() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis);
    let url = proxy.url();
    let settings = [
        ONLY_LIST,
        ("REDIS__URL", &url),
        ("SHUTDOWN_TIMEOUT", "3600"),
    ];
    let mut setup = Setup::with_alice_on(redis, &settings);
    pop(&mut setup.client.redis);
    proxy.stall_on(EVENT);
    guess(&mut setup.client);
    assert!(setup.daemon.stop().success());
    let log = setup.daemon.log();
    assert!(
        log.contains("not all events were published in time"),
        "{log}"
    );
    assert!(!log.contains("not acknowledged in time"), "{log}");
    // The daemon stopped before the answer timed out.
    assert!(!log.contains(LOST), "{log}");
}
