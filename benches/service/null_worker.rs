//! Null worker: fetches messages, replies to each with a constant, acknowledges it, and does
//! nothing else. It is the upper limit of any worker on this Redis, and the reference for the
//! daemon.
//!
//! It uses the fastest known design on raw sockets. A script moves up to 128 messages into a
//! processing list. Replies, the acknowledgement (one `DEL` of that list) and the next fetch share
//! one round trip. Under a backlog, the next fetch is sent before the replies of the last batch.
//! The worker blocks only on an empty queue. It reads nothing of a message except the id, does not
//! keep the order, cannot repeat an acknowledgement after an error, and does not claim the queue.

use std::io;

use crate::resp::{Answer, Connection};

const BATCH: usize = 128;
const QUEUE: &[u8] = b"platypush/user";
const LISTS: [&[u8]; 2] = [b"null:processing:0", b"null:processing:1"];

const FETCH_SCRIPT: &[u8] = b"
local messages = redis.call('LPOP', KEYS[1], ARGV[1])
if not messages then return {} end
redis.call('RPUSH', KEYS[2], unpack(messages))
return messages
";

/// Reply around the id, as long as the daemon's.
const REPLY: [&[u8]; 2] = [
    b"{\"id\": \"",
    b"\", \"type\": \"response\", \"target\": \"bench\", \"origin\": \"bench\", \"_timestamp\": 1795486177.017, \"response\": {\"output\": {\"user_id\": 1234, \"username\": \"user-000000001234\", \"created_at\": \"2026-11-24T02:09:52.538344\"}, \"errors\": []}, \"_logging_level\": 20}",
];

/// Runs until the connection to Redis breaks.
pub fn run(port: u16) -> io::Result<()> {
    let mut redis = Connection::open(port)?;
    redis.command([b"SCRIPT", b"LOAD", FETCH_SCRIPT]);
    redis.send()?;
    let mut script = Vec::new();
    redis.wait(|answer| {
        if let Answer::Text(sha) = answer {
            script = sha.to_vec();
        }
    })?;
    let fetch = |redis: &mut Connection, list: usize| {
        redis.command([b"EVALSHA", &script, b"2", QUEUE, LISTS[list], b"128"]);
    };
    let mut ids = Vec::new();
    let mut list = 0;
    fetch(&mut redis, list);
    loop {
        redis.send()?;
        receive(&mut redis, &mut ids)?;
        if ids.is_empty() {
            // Handled like a batch of one message.
            redis.command([b"BLMOVE", QUEUE, LISTS[list], b"LEFT", b"RIGHT", b"1"]);
            redis.send()?;
            receive(&mut redis, &mut ids)?;
            if ids.is_empty() {
                fetch(&mut redis, list);
                continue;
            }
        }
        let backlog = ids.len() == BATCH;
        let finished = list;
        list = 1 - list;
        if backlog {
            fetch(&mut redis, list);
            redis.send()?;
        }
        acknowledge(&mut redis, &ids, LISTS[finished]);
        if !backlog {
            fetch(&mut redis, list);
        }
    }
}

/// Reads the ids of the next batch, and skips the answers to earlier commands.
fn receive(redis: &mut Connection, ids: &mut Vec<Vec<u8>>) -> io::Result<()> {
    ids.clear();
    loop {
        let mut is_batch = false;
        let mut first = true;
        redis.wait(|answer| {
            match answer {
                Answer::Text(message) => {
                    is_batch = true;
                    ids.push(id_of(message));
                }
                // The answer to `EXEC` begins with a non-empty array.
                Answer::Array(0) | Answer::Nil if first => is_batch = true,
                _ => {}
            }
            first = false;
        })?;
        if is_batch {
            return Ok(());
        }
    }
}

fn id_of(message: &[u8]) -> Vec<u8> {
    const KEY: &[u8] = b"\"id\": \"";
    let start = message
        .windows(KEY.len())
        .position(|window| window == KEY)
        .expect("a request with an id")
        + KEY.len();
    let length = message[start..].iter().position(|byte| *byte == b'"');
    message[start..start + length.expect("the end of the id")].to_vec()
}

fn acknowledge(redis: &mut Connection, ids: &[Vec<u8>], list: &[u8]) {
    let (mut key, mut reply) = (Vec::new(), Vec::new());
    redis.command([b"MULTI"]);
    for id in ids {
        key.clear();
        key.extend_from_slice(b"platypush/responses/");
        key.extend_from_slice(id);
        reply.clear();
        reply.extend_from_slice(REPLY[0]);
        reply.extend_from_slice(id);
        reply.extend_from_slice(REPLY[1]);
        redis.command([b"RPUSH", &key, &reply]);
        redis.command([b"EXPIRE", &key, b"60"]);
    }
    redis.command([b"DEL", list]);
    redis.command([b"EXEC"]);
}
