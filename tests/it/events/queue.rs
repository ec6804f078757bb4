//! The publisher's queue: its capacity, and publishing its events when the daemon stops.

use platypush_userd::clock::{Clock as _, SystemClock};
use platypush_userd::config::{self, Environment};
use platypush_userd::events::{Event, EventKind, Publisher, PublisherHandle};
use platypush_userd::redis::Connector;
use redis::Commands as _;

use super::{LIST, arguments, pop};
use crate::support::{PATIENCE, RedisServer};

/// Maximum number of events in the queue.
const CAPACITY: usize = 4_096;

fn start(redis: &RedisServer) -> (Publisher, PublisherHandle) {
    let environment = Environment::empty()
        .with("PLATYPUSH_USERD_WORKDIR", "/nowhere")
        .with("PLATYPUSH_USERD_REDIS__URL", redis.url())
        .with("PLATYPUSH_USERD_EVENTS__PUBLISH", format!("list:{LIST}"));
    let loaded = config::load(None, &environment).map_err(|e| e.to_string());
    let config = loaded.unwrap().config;
    Publisher::start(Connector::new(&config.redis).unwrap(), &config.publish).unwrap()
}

/// Queues events without an await, so that the task sends none of them meanwhile.
fn publish(publisher: &Publisher, events: usize) {
    for number in (1..).take(events) {
        let event = Event::of_user(number, "alice", EventKind::UserDeleted {});
        publisher.publish(&event, None, None, SystemClock.now());
    }
}

/// Returns the user ids of the events in the list.
fn published(redis: &RedisServer) -> Vec<u64> {
    let messages: Vec<String> = redis.connection().lrange(LIST, 0, -1).unwrap();
    messages.iter().map(|message| user_id(message)).collect()
}

fn user_id(message: &str) -> u64 {
    arguments(message).0["user_id"].as_u64().unwrap()
}

#[tokio::test]
async fn queued_events_are_published_on_stop() {
    let redis = RedisServer::start();
    let (publisher, handle) = start(&redis);
    publish(&publisher, 300);
    handle.stop(PATIENCE).await;
    assert_eq!(published(&redis), (1..=300).collect::<Vec<_>>());
    // The task has ended: the event is lost, and the caller does not block.
    publish(&publisher, 1);
    assert_eq!(published(&redis).len(), 300);
}

/// The newest events are lost.
#[tokio::test]
async fn events_beyond_the_capacity_are_lost() {
    let redis = RedisServer::start();
    let (publisher, handle) = start(&redis);
    publish(&publisher, CAPACITY + 500);
    let mut reader = redis.connection();
    let read = move || (0..CAPACITY).map(|_| user_id(&pop(&mut reader))).collect();
    let read: Vec<_> = tokio::task::spawn_blocking(read).await.unwrap();
    assert_eq!(read, (1..=4_096).collect::<Vec<_>>());
    handle.stop(PATIENCE).await;
    assert_eq!(published(&redis), Vec::<u64>::new());
}
