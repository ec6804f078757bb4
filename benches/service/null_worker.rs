//! What Redis lets any worker do: takes messages, answers each with a constant,
//! acknowledges, and does nothing else. It is the limit that the daemon is
//! measured against.
//!
//! It has the best design that is known for that, on raw sockets: a script that
//! moves up to 128 messages into a processing list; replies, the end of that
//! list (one `DEL`) and the next take in one round trip; under a backlog the next
//! take is on its way before the last batch is answered; it blocks only when
//! there is nothing to take. It does not look at what it takes but for the id,
//! keeps no order, settles nothing twice if it must, and owns nothing.

use std::io;

use crate::resp::{Answer, Connection};

const BATCH: usize = 128;
const QUEUE: &[u8] = b"platypush/user";
const LISTS: [&[u8]; 2] = [b"null:processing:0", b"null:processing:1"];

const TAKE: &[u8] = b"
local messages = redis.call('LPOP', KEYS[1], ARGV[1])
if not messages then return {} end
redis.call('RPUSH', KEYS[2], unpack(messages))
return messages
";

/// As long as the daemon's answer.
const REPLY: [&[u8]; 2] = [
    b"{\"id\": \"",
    b"\", \"type\": \"response\", \"target\": \"bench\", \"origin\": \"bench\", \"_timestamp\": 1795486177.017, \"response\": {\"output\": {\"user_id\": 1234, \"username\": \"user-000000001234\", \"created_at\": \"2026-11-24T02:09:52.538344\"}, \"errors\": []}, \"_logging_level\": 20}",
];

/// Works until Redis is gone.
pub fn run(port: u16) -> io::Result<()> {
    let mut redis = Connection::open(port)?;
    redis.command([b"SCRIPT", b"LOAD", TAKE]);
    redis.send()?;
    let mut take = Vec::new();
    redis.wait(|answer| {
        if let Answer::Text(sha) = answer {
            take = sha.to_vec();
        }
    })?;
    let ask = |redis: &mut Connection, list: usize| {
        redis.command([b"EVALSHA", &take, b"2", QUEUE, LISTS[list], b"128"]);
    };
    let mut ids = Vec::new();
    let mut list = 0;
    ask(&mut redis, list);
    loop {
        redis.send()?;
        receive(&mut redis, &mut ids)?;
        if ids.is_empty() {
            // `taken` of a blocking move goes the same way as a batch.
            redis.command([b"BLMOVE", QUEUE, LISTS[list], b"LEFT", b"RIGHT", b"1"]);
            redis.send()?;
            receive(&mut redis, &mut ids)?;
            if ids.is_empty() {
                ask(&mut redis, list);
                continue;
            }
        }
        let backlog = ids.len() == BATCH;
        let done = list;
        list = 1 - list;
        if backlog {
            ask(&mut redis, list);
            redis.send()?;
        }
        settle(&mut redis, &ids, LISTS[done]);
        if !backlog {
            ask(&mut redis, list);
        }
    }
}

/// The ids of the next batch. Answers of earlier steps are passed over.
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
                // The answer of EXEC begins with the length of a list.
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

fn settle(redis: &mut Connection, ids: &[Vec<u8>], list: &[u8]) {
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
