//! Replies of some megabytes: they are sent to Redis on a connection of their own.

use std::sync::Arc;
use std::time::Duration;

use platypush_userd::config::{self, Environment};
use platypush_userd::queue::UnreadReplies;
use platypush_userd::redis::Connector;
use redis::Commands as _;
use serde_json::json;

use super::refused_replies::create_many_users;
use crate::support::{Client, Daemon, REPLIES, RedisServer};

#[test]
fn a_long_reply_is_complete_with_and_without_an_existing_list() {
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    create_many_users(&folder.path().join("workdir"));
    let mut daemon = Daemon::start_in(folder, &redis, &[]);
    let mut client = redis.client();
    for earlier in [None, Some("unread")] {
        let (id, message) = Client::request("get_users", json!({}));
        if let Some(earlier) = earlier {
            let list = format!("platypush/responses/{id}");
            let _: () = client.redis.rpush(list, earlier).unwrap();
        }
        client.push(message);
        let mut texts: Vec<_> = (0..=earlier.iter().count())
            .map(|_| client.raw_reply(&id))
            .collect();
        texts.retain(|text| Some(text.as_str()) != earlier);
        let [text] = texts.as_slice() else {
            panic!("{} replies", texts.len());
        };
        assert!(text.len() > 1 << 20, "a short reply");
        let reply: serde_json::Value = serde_json::from_str(text).unwrap();
        let users = reply["response"]["output"].as_array().unwrap();
        let ids = users.iter().map(|user| user["user_id"].as_u64().unwrap());
        assert!(ids.eq(1..=4_000));
    }
    assert!(daemon.stop().success());
    client.assert_nothing_left();
}

const UNREAD: &str = "Too many long replies have not been read: read them, or retry in ";

/// Regression: 2,000 requests of 38 bytes made Redis grow by 323 MiB, because each reply is kept
/// for `reply_ttl`.
#[test]
fn unread_long_replies_do_not_fill_redis() {
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    create_many_users(&folder.path().join("workdir"));
    // Long enough for the last reply on a slow machine.
    let settings = [("REPLY_TTL", "3600"), ("MAX_REQUEST_AGE", "0")];
    let mut daemon = Daemon::start_in(folder, &redis, &settings);
    let mut client = redis.client();
    let ids = client.send_all((0..60).map(|_| ("get_users", json!({}))));
    let mut bytes = 0;
    for id in &ids {
        client.await_reply(id);
        let reply: String = client.redis.lindex(format!("{REPLIES}{id}"), 0).unwrap();
        bytes += reply.len();
    }
    assert!(bytes < 65 << 20, "{bytes} bytes are in Redis");
    assert!(bytes > 60 << 20, "{bytes} bytes were refused too early");
    // Short replies are not counted.
    let lookup = client.call("authenticate_session", json!(["x"]));
    lookup.fails("Invalid session token");
    let refused = client.call("get_users", json!({}));
    assert!(refused.errors()[0].starts_with(UNREAD), "{refused:?}");
    assert_eq!(refused.output(), &json!({"success": false}));

    // Reading them frees capacity, long before they expire.
    for id in &ids {
        client.raw_reply(id);
    }
    while !client.call("get_users", json!({})).errors().is_empty() {}
    assert!(daemon.stop().success());
    client.assert_nothing_left();
}

/// Regression: replies to requests that had an effect were never counted.
#[tokio::test]
async fn a_reply_that_is_always_sent_is_counted() {
    let environment = Environment::empty()
        .with("PLATYPUSH_USERD_WORKDIR", "/nowhere")
        .with("PLATYPUSH_USERD_REDIS__URL", "redis://127.0.0.1:1");
    let loaded = config::load(None, &environment).map_err(|e| e.to_string());
    let connector = Connector::new(&loaded.unwrap().config.redis).unwrap();
    let replies = UnreadReplies::new(connector, REPLIES, Duration::ZERO);
    assert!(matches!(replies.count("short", 100, true).await, Ok(None)));
    let mut counted = Vec::new();
    for id in ["first", "second"] {
        let share = replies.count(id, 40 << 20, true).await;
        counted.push(share.unwrap().unwrap());
    }
    assert!(replies.count("third", 40 << 20, false).await.is_err());
    // They were sent and have expired.
    drop(counted);
    while replies.count("third", 40 << 20, false).await.is_err() {
        tokio::task::yield_now().await;
    }
}

/// A client can send any number of requests with one id and read no reply.
#[test]
fn a_reply_list_holds_the_last_16_replies() {
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    create_many_users(&folder.path().join("workdir"));
    let mut daemon = Daemon::start_in(folder, &redis, &[]);
    let mut client = redis.client();
    let mut request = |action: &str, number: usize| {
        let request = json!({
            "action": format!("user.{action}"),
            "id": "same",
            "origin": number.to_string(),
            "args": if action == "get_users" { json!([]) } else { json!(["x"]) },
        });
        client.push(request.to_string());
    };
    for number in 0..40 {
        request("authenticate_session", number);
    }
    request("get_users", 40);
    let list = format!("{REPLIES}same");
    // Lists of all users are sent one at a time, so the reply before this one was sent.
    assert!(client.call("get_users", json!({})).errors().is_empty());
    let replies: Vec<String> = client.redis.lrange(&list, 0, -1).unwrap();
    let targets: Vec<_> = replies
        .iter()
        .map(|reply| {
            let reply: serde_json::Value = serde_json::from_str(reply).unwrap();
            reply["target"].as_str().unwrap().parse::<usize>().unwrap()
        })
        .collect();
    assert!(targets.iter().copied().eq(25..=40), "{targets:?}");
    let _: () = client.redis.del(&list).unwrap();
    assert!(daemon.stop().success());
    client.assert_nothing_left();
}
