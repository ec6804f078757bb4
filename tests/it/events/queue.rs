//! The queue in front of Redis by itself: how much it holds, and what becomes
//! of it at the end.

use platypush_userd::clock::{Clock as _, SystemClock};
use platypush_userd::config::{self, Environment};
use platypush_userd::events::{Event, EventKind, Publisher, Publishing};
use platypush_userd::redis::Connector;
use redis::Commands as _;

use super::{LIST, arguments, pop};
use crate::support::{PATIENCE, RedisServer};

/// Most events that wait.
const MOST: usize = 4_096;

fn start(redis: &RedisServer) -> (Publisher, Publishing) {
    let environment = Environment::empty()
        .with("PLATYPUSH_USERD_WORKDIR", "/nowhere")
        .with("PLATYPUSH_USERD_REDIS__URL", redis.url())
        .with("PLATYPUSH_USERD_EVENTS__PUBLISH", format!("list:{LIST}"));
    let loaded = config::load(None, &environment).map_err(|e| e.to_string());
    let config = loaded.unwrap().config;
    Publisher::start(Connector::new(&config.redis).unwrap(), &config.publish).unwrap()
}

/// So many, without a moment in which one could be sent.
fn publish(publisher: &Publisher, events: usize) {
    for number in (1..).take(events) {
        let event = Event::of_user(number, "alice", EventKind::UserDeleted {});
        publisher.publish(&event, None, None, SystemClock.now());
    }
}

/// The numbers of the users in the list.
fn told(redis: &RedisServer) -> Vec<u64> {
    let messages: Vec<String> = redis.connection().lrange(LIST, 0, -1).unwrap();
    messages.iter().map(|message| user_id(message)).collect()
}

fn user_id(message: &str) -> u64 {
    arguments(message).0["user_id"].as_u64().unwrap()
}

#[tokio::test]
async fn what_waits_at_the_end_is_told() {
    let redis = RedisServer::start();
    let (publisher, publishing) = start(&redis);
    publish(&publisher, 300);
    publishing.stop(PATIENCE).await;
    assert_eq!(told(&redis), (1..=300).collect::<Vec<_>>());
    // Too late: nobody is there any more, and nobody waits.
    publish(&publisher, 1);
    assert_eq!(told(&redis).len(), 300);
}

/// The newest are those that are lost.
#[tokio::test]
async fn no_more_wait_than_there_is_room_for() {
    let redis = RedisServer::start();
    let (publisher, publishing) = start(&redis);
    publish(&publisher, MOST + 500);
    let mut reader = redis.connection();
    let read = move || (0..MOST).map(|_| user_id(&pop(&mut reader))).collect();
    let read: Vec<_> = tokio::task::spawn_blocking(read).await.unwrap();
    assert_eq!(read, (1..=4_096).collect::<Vec<_>>());
    publishing.stop(PATIENCE).await;
    assert_eq!(told(&redis), Vec::<u64>::new());
}
