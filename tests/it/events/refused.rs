//! What Redis does not take is lost, and nothing else is: no reply, and no
//! event for somebody else.

use redis::Commands as _;
use serde_json::json;

use super::{BOTH, LIST, LOST, Listener, ONLY_LIST, arguments, pop};
use crate::support::{Client, RedisServer, Setup};

/// Most messages in a list.
const LONGEST: usize = 10_000;

fn length(client: &mut Client) -> usize {
    client.redis.llen(LIST).unwrap()
}

fn guess(client: &mut Client) {
    let reply = client.call("create_session", json!(["alice", "wrong"]));
    reply.fails("Invalid credentials");
}

/// Waits until the channel hears of that many failures.
fn hear_failures(listener: &Listener, count: usize) {
    for _ in 0..count {
        let (args, _) = arguments(&listener.next());
        assert_eq!(args["kind"], "login_failed");
    }
}

/// A node that is down must not fill the memory of Redis, and its requests
/// are its own.
#[test]
fn a_list_that_is_full_does_not_grow() {
    let redis = RedisServer::start();
    let listener = Listener::to(&redis);
    let mut setup = Setup::with_alice_on(redis, &[BOTH]);
    listener.next();
    let client = &mut setup.client;
    pop(&mut client.redis);
    let _: () = client.redis.rpush(LIST, vec!["own"; LONGEST]).unwrap();
    guess(client);
    hear_failures(&listener, 1);
    assert_eq!(length(client), LONGEST);
    setup.daemon.wait_for_log(LOST);
    let why = r#"why="home/cellar: it holds 10000 messages""#;
    assert_eq!(setup.daemon.count_in_log(why), 1);

    // Where there is room again, it is used.
    for _ in 0..3 {
        assert_eq!(pop(&mut client.redis), "own");
    }
    for id in client.send_all(vec![("create_session", json!(["alice", "wrong"])); 200]) {
        client.reply(&id).fails("Invalid credentials");
    }
    hear_failures(&listener, 200);
    assert_eq!(length(client), LONGEST);
    let oldest: String = client.redis.lindex(LIST, 0).unwrap();
    let newest: Vec<String> = client.redis.lrange(LIST, -4, -1).unwrap();
    assert_eq!(oldest, "own");
    assert_eq!(newest[0], "own");
    for message in &newest[1..] {
        assert_eq!(arguments(message).0["kind"], "login_failed");
    }
    assert!(setup.daemon.stop().success());
    // One line at first, one at the end.
    assert_eq!(setup.daemon.count_in_log(LOST), 2);
    assert_eq!(setup.daemon.count_in_log("lost=197 "), 1);
}

#[test]
fn a_key_that_is_no_list_is_left_alone() {
    let redis = RedisServer::start();
    let listener = Listener::to(&redis);
    let _: () = redis.connection().set(LIST, "something else").unwrap();
    let mut setup = Setup::with_alice_on(redis, &[BOTH]);
    listener.next();
    let client = &mut setup.client;
    for _ in 0..50 {
        guess(client);
    }
    hear_failures(&listener, 50);
    let value: String = client.redis.get(LIST).unwrap();
    assert_eq!(value, "something else");
    let lost = "lost=1 why=\"home/cellar: ";
    assert_eq!(setup.daemon.count_in_log(lost), 1, "{}", setup.daemon.log());
    assert!(setup.daemon.log().contains("WRONGTYPE"));
    assert!(setup.daemon.stop().success());
    assert_eq!(setup.daemon.count_in_log("lost=50 "), 1);
    assert_eq!(setup.daemon.count_in_log(LOST), 2);
}

/// A user in Redis with these rights besides those of the queue.
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
fn without_the_rights_to_publish_requests_are_answered() {
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
fn without_the_rights_to_the_list_the_channel_hears_all() {
    let mut setup = with_rights(&["&bus/*"]);
    let listener = Listener::to(&setup.redis);
    for _ in 0..10 {
        guess(&mut setup.client);
    }
    hear_failures(&listener, 10);
    assert_eq!(length(&mut setup.client), 0);
    let lost = format!(r#"{LOST} lost=1 why="home/cellar: "#);
    assert_eq!(setup.daemon.count_in_log(&lost), 1);
    assert_eq!(setup.daemon.count_in_log(LOST), 1);
}

/// No room in Redis: what makes room there, which is to answer, goes on.
#[test]
fn a_redis_without_memory_costs_events_and_no_reply() {
    let mut setup = Setup::with_alice(&[ONLY_LIST]);
    pop(&mut setup.client.redis);
    let guesses = vec![("create_session", json!(["alice", "wrong"])); 10];
    let (ids, messages): (Vec<_>, Vec<_>) = guesses
        .into_iter()
        .map(|(action, args)| Client::request(action, args))
        .unzip();
    // In one step, so that they are there before there is no room.
    let mut step = redis::pipe();
    step.atomic().rpush(crate::support::QUEUE, messages);
    let limit = |limit| ["SET", "maxmemory", limit];
    step.cmd("CONFIG").arg(&limit("1"));
    step.exec(&mut setup.client.redis).unwrap();
    setup.daemon.wait_for_log(LOST);
    let _: () = redis::cmd("CONFIG")
        .arg(&limit("0"))
        .query(&mut setup.client.redis)
        .unwrap();
    for id in &ids {
        setup.client.reply(id).fails("Invalid credentials");
    }
}
