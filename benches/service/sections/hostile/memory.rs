//! Memory of the daemon and latency of look-ups while a client pushes messages of the maximum size,
//! shaped to cost as much as possible.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::resp::{Answer, Connection};
use crate::sections::idle::kib_to_mib;
use crate::sections::passwords::paced_look_ups;
use crate::stage::{Process, Redis};
use crate::table::{Goal, Row, Table};
use crate::{Options, QUEUE};

/// Bytes of a message: the default of `max_message_size`.
const LENGTH: usize = 1 << 20;
const MESSAGES: usize = 1 << 10;
/// Maximum number of hostile messages in the queue. A longer backlog would measure the memory of
/// Redis and the wait behind the backlog, not the cost of decoding.
const QUEUED: i64 = 4;

/// Arguments of a login, and the two texts that fill the message at `%`: repetitions of the first,
/// then as many of the second.
const SHAPES: [(&str, &str, &str); 16] = [
    (r#""username": "a", "password": [%0]"#, "0,", ""),
    (r#""username": "a", "password": [%0]"#, "[],", ""),
    (r#""username": "a", "password": [%0]"#, "{},", ""),
    (r#""username": "a", "password": [%0]"#, "-1,", ""),
    (r#""username": "a", "password": %"#, "[", "]"),
    (r#""username": "a", "password": [[[[[%]]]]]"#, "[0,", "]"),
    (r#""username": "a", "password": %"#, r#"{"a":"#, ""),
    (r#""username": "a", "password": "%""#, r"\u0041", ""),
    (
        r#""username": "a", "password": "x", "code": "%""#,
        r"\n",
        "",
    ),
    (r#""username": "a", "password": "x", "code": %1"#, "1", ""),
    (r#""username": "a", "password": "x"%"#, " ", ""),
    (
        r#""username": "a", %"password": "x""#,
        r#""password":"","#,
        "",
    ),
    (r#""username": "%", "password": "x""#, "a", ""),
    (
        r#""username": {%"a": 1}, "password": "x""#,
        r#""a":[],"#,
        "",
    ),
    (r#"%"username": "a", "password": "x""#, r#""b":0,"#, ""),
    (r#""username": "a", "password": ['%']"#, r"\x41", ""),
];

pub fn run(options: &Options, workdir: &Path, table: &mut Table) {
    let redis = Redis::start();
    let daemon = Process::daemon(&redis, workdir, &[]);
    let idle = paced_look_ups(options, &redis).percentile(99);
    let idle_mib = kib_to_mib(daemon.memory_kib().0);
    let begin = Instant::now();
    let mut busy = Vec::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            push_all(redis.port);
            done.store(true, Ordering::Release);
        });
        while busy.is_empty() || !done.load(Ordering::Acquire) {
            busy.push(paced_look_ups(options, &redis).percentile(99));
        }
    });
    let took = begin.elapsed().as_secs_f64();
    let (_, highest) = daemon.memory_kib();
    let mib = kib_to_mib(highest);
    daemon.stop();
    table.push(
        Row::new(
            "peak memory while 1 GiB of hostile messages of 1 MiB is pushed",
            format!("{mib:.0} MiB"),
            format!("idle {idle_mib:.0} MiB; {took:.0} s"),
        )
        .goals("≤ 200 MiB", &[(mib, Goal::AtMost(200.0))]),
    );
    let busy = busy.into_iter().fold(0.0, f64::max);
    table.push(Row::new(
        "p99 of `authenticate_session` while hostile messages are pushed",
        format!("{:.2} ms", busy / 1e3),
        format!("idle {:.2} ms: {:.1} times", idle / 1e3, busy / idle),
    ));
}

/// Pushes all messages and waits until the daemon has acknowledged them.
fn push_all(port: u16) {
    let mut client = Connection::open(port).unwrap();
    for number in 0..MESSAGES {
        let message = message(number, SHAPES[number % SHAPES.len()]);
        client.command([b"RPUSH", QUEUE.as_bytes(), message.as_bytes()]);
        client.send().unwrap();
        client.wait(|_| {}).unwrap();
        while client.length(QUEUE) > QUEUED {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let processing = format!("{QUEUE}:processing:*");
    loop {
        let mut lists = 0;
        client.command([b"KEYS", processing.as_bytes()]);
        client.send().unwrap();
        client
            .wait(|answer| {
                if let Answer::Array(length) = answer {
                    lists = length;
                }
            })
            .unwrap();
        if lists == 0 && client.length(QUEUE) == 0 {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn message(number: usize, (args, unit, close): (&str, &str, &str)) -> String {
    let frame = format!(
        r#"{{"action": "user.authenticate_user", "id": "hostile-{number}", "args": {{{args}}}}}"#
    );
    let count = (LENGTH - frame.len()) / (unit.len() + close.len());
    frame.replacen('%', &(unit.repeat(count) + &close.repeat(count)), 1)
}
