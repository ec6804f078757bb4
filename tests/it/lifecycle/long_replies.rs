//! Replies of some megabytes: they go to Redis beside all others.

use std::sync::Arc;

use redis::Commands as _;
use serde_json::json;

use super::refused_replies::make_long_list_of_users;
use crate::support::{Client, Daemon, RedisServer};

#[test]
fn a_long_reply_arrives_whole_whether_or_not_its_list_is_there() {
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    make_long_list_of_users(&folder.path().join("workdir"));
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
        assert!(text.len() > 1 << 20, "a long one");
        let reply: serde_json::Value = serde_json::from_str(text).unwrap();
        let users = reply["response"]["output"].as_array().unwrap();
        let ids = users.iter().map(|user| user["user_id"].as_u64().unwrap());
        assert!(ids.eq(1..=4_000));
    }
    assert!(daemon.stop().success());
    client.assert_nothing_left();
}
