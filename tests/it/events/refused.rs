//! An event that Redis refuses is lost. Replies and events for other nodes are not.

use redis::Commands as _;
use serde_json::json;

use super::{BOTH, LIST, LOST, ONLY_LIST, Subscription, arguments, pop};
use crate::support::{Client, RedisServer, Setup};

/// Maximum length of a list.
const MAX_LENGTH: usize = 10_000;

fn length(client: &mut Client) -> usize {
    client.redis.llen(LIST).unwrap()
}

fn guess(client: &mut Client) {
    let reply = client.call("create_session", json!(["alice", "wrong"]));
    reply.fails("Invalid credentials");
}

/// Receives `count` events from the channel, all of them failed logins.
fn receive_failures(subscription: &Subscription, count: usize) {
    for _ in 0..count {
        let (args, _) = arguments(&subscription.next());
        assert_eq!(args["kind"], "login_failed");
    }
}

/// The list of a node that is down must not fill the memory of Redis, and messages from other
/// clients must stay in it.
#[test]
fn a_full_list_does_not_grow() {
    let redis = RedisServer::start();
    let subscription = Subscription::to(&redis);
    let mut setup = Setup::with_alice_on(redis, &[BOTH]);
    subscription.next();
    let client = &mut setup.client;
    pop(&mut client.redis);
    let _: () = client.redis.rpush(LIST, vec!["own"; MAX_LENGTH]).unwrap();
    guess(client);
    receive_failures(&subscription, 1);
    assert_eq!(length(client), MAX_LENGTH);
    setup.daemon.wait_for_log(LOST);
    let why = r#"why="home/cellar: the list already holds 10000 messages""#;
    assert_eq!(setup.daemon.count_in_log(why), 1);

    // Events are appended again once the list is shorter.
    for _ in 0..3 {
        assert_eq!(pop(&mut client.redis), "own");
    }
    for id in client.send_all(vec![("create_session", json!(["alice", "wrong"])); 200]) {
        client.reply(&id).fails("Invalid credentials");
    }
    receive_failures(&subscription, 200);
    assert_eq!(length(client), MAX_LENGTH);
    let oldest: String = client.redis.lindex(LIST, 0).unwrap();
    let newest: Vec<String> = client.redis.lrange(LIST, -4, -1).unwrap();
    assert_eq!(oldest, "own");
    assert_eq!(newest[0], "own");
    for message in &newest[1..] {
        assert_eq!(arguments(message).0["kind"], "login_failed");
    }
    assert!(setup.daemon.stop().success());
    // One line for the first loss, one when the daemon stops.
    assert_eq!(setup.daemon.count_in_log(LOST), 2);
    assert_eq!(setup.daemon.count_in_log("lost=197 "), 1);
}

#[test]
fn a_key_of_another_type_is_not_changed() {
    let redis = RedisServer::start();
    let subscription = Subscription::to(&redis);
    let _: () = redis.connection().set(LIST, "something else").unwrap();
    let mut setup = Setup::with_alice_on(redis, &[BOTH]);
    subscription.next();
    let client = &mut setup.client;
    for _ in 0..50 {
        guess(client);
    }
    receive_failures(&subscription, 50);
    let value: String = client.redis.get(LIST).unwrap();
    assert_eq!(value, "something else");
    let lost = "lost=1 why=\"home/cellar: ";
    assert_eq!(setup.daemon.count_in_log(lost), 1, "{}", setup.daemon.log());
    assert!(setup.daemon.log().contains("WRONGTYPE"));
    assert!(setup.daemon.stop().success());
    assert_eq!(setup.daemon.count_in_log("lost=50 "), 1);
    assert_eq!(setup.daemon.count_in_log(LOST), 2);
}

/// Starts a daemon whose Redis user has these rights besides those on the queue.
fn with_rights(rights: &[&str]) -> Setup {
    let redis = RedisServer::start();
    let _: () = redis::cmd("ACL")
        .arg(&["SETUSER", "userd", "on", ">pw", "~platypush/*", "+@all"])
        .arg(&["resetchannels"])
        .arg(rights)
        .query(&mut redis.connection())
        .unwrap();
    let url = format!("{}?user=userd&pass=pw", redis.url());
    let settings = [BOTH, ("REDIS__URL", &url)];
    Setup::with_alice_on(redis, &settings)
}

#[test]
fn requests_are_answered_without_the_right_to_publish() {
    for (rights, why) in [
        (&["~home/*", "&bus/*", "-publish"][..], "bus/attic: "),
        (&["~home/*"], "bus/attic: "),
        (&["~home/*", "-ping", "-publish"], "bus/attic: "),
    ] {
        let mut setup = with_rights(rights);
        pop(&mut setup.client.redis);
        for _ in 0..10 {
            guess(&mut setup.client);
            let (args, _) = arguments(&pop(&mut setup.client.redis));
            assert_eq!(args["kind"], "login_failed", "{rights:?}");
        }
        let lost = format!(r#"{LOST} lost=1 why="{why}"#);
        let log = setup.daemon.log();
        assert_eq!(setup.daemon.count_in_log(&lost), 1, "{rights:?}: {log}");
        assert_eq!(setup.daemon.count_in_log(LOST), 1, "{rights:?}: {log}");
        assert!(setup.daemon.stop().success());
    }
}

#[test]
fn the_channel_receives_events_without_the_right_to_the_list() {
    let mut setup = with_rights(&["&bus/*"]);
    let subscription = Subscription::to(&setup.redis);
    for _ in 0..10 {
        guess(&mut setup.client);
    }
    receive_failures(&subscription, 10);
    assert_eq!(length(&mut setup.client), 0);
    let lost = format!(r#"{LOST} lost=1 why="home/cellar: "#);
    assert_eq!(setup.daemon.count_in_log(&lost), 1);
    assert_eq!(setup.daemon.count_in_log(LOST), 1);
}

/// Redis is out of memory. Replies must go on, because sending them frees memory.
#[test]
fn a_redis_out_of_memory_loses_events_but_no_reply() {
    let mut setup = Setup::with_alice(&[ONLY_LIST]);
    pop(&mut setup.client.redis);
    let guesses = vec![("create_session", json!(["alice", "wrong"])); 10];
    let (ids, messages): (Vec<_>, Vec<_>) = guesses
        .into_iter()
        .map(|(action, args)| Client::request(action, args))
        .unzip();
    // In one transaction, so that the requests arrive before Redis is out of memory.
    let mut transaction = redis::pipe();
    transaction.atomic().rpush(crate::support::QUEUE, messages);
    let limit = |limit| ["SET", "maxmemory", limit];
    transaction.cmd("CONFIG").arg(&limit("1"));
    transaction.exec(&mut setup.client.redis).unwrap();
    setup.daemon.wait_for_log(LOST);
    let _: () = redis::cmd("CONFIG")
        .arg(&limit("0"))
        .query(&mut setup.client.redis)
        .unwrap();
    for id in &ids {
        setup.client.reply(id).fails("Invalid credentials");
    }
}
