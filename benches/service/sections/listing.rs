//! `get_users` with many users, and its effect on concurrent look-ups.

use std::path::Path;
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;

use crate::population;
use crate::resp::{Answer, Connection};
use crate::sections::passwords::paced_look_ups;
use crate::stage::{Process, Redis};
use crate::table::{Goal, Row, Table, thousands};
use crate::{Options, QUEUE};

const USERS: u32 = 100_000;

pub fn run(options: &Options, folder: &Path, table: &mut Table) {
    let workdir = folder.join("listing");
    population::populate(&workdir, USERS.into());
    let redis = Redis::start();
    let daemon = Process::daemon(&redis, &workdir, &[]);
    let mut lists = 0;
    let mut length = 0;
    let list = |client: &mut Connection| {
        let message = b"{\"action\": \"user.get_users\", \"id\": \"list\"}";
        client.command([b"RPUSH", QUEUE.as_bytes(), message]);
        client.command([b"BLPOP", b"platypush/responses/list", b"0"]);
        client.send().unwrap();
        client.wait(|_| {}).unwrap();
        length = receive(client);
        lists += 1;
    };
    let (idle, busy) = p99_during(options, &redis, list);
    daemon.stop();
    let pause = options.time * 3 / lists;

    // The reference: payloads of the same length and rate through Redis, without the daemon.
    let text = vec![b'x'; length];
    let worker = Process::null_worker(&redis);
    let pass = |client: &mut Connection| {
        thread::sleep(pause);
        client.command([b"RPUSH", b"text", &text]);
        client.command([b"BLPOP", b"text", b"0"]);
        client.send().unwrap();
        client.wait(|_| {}).unwrap();
        receive(client);
    };
    let (_, limit) = p99_during(options, &redis, pass);
    worker.stop();
    let times = busy / idle;
    table.push(
        Row::new(
            &format!(
                "p99 of `authenticate_session` while `get_users` lists {} users repeatedly",
                thousands(USERS.into())
            ),
            format!("{:.2} ms", busy / 1e3),
            format!(
                "idle {:.2} ms: {times:.1} times ({lists} lists); null worker with as many \
                 payloads of the same length through Redis {:.2} ms",
                idle / 1e3,
                limit / 1e3
            ),
        )
        .goals("≤ 5 times", &[(times, Goal::AtMost(5.0))]),
    );
}

/// Returns the p99 of look-ups, first on an idle daemon, then while a thread repeats `busy`.
fn p99_during(
    options: &Options,
    redis: &Redis,
    mut busy: impl FnMut(&mut Connection) + Send,
) -> (f64, f64) {
    let idle = paced_look_ups(options, redis).percentile(99);
    let port = redis.port;
    thread::scope(|scope| {
        let (stop, stopped) = channel::<()>();
        scope.spawn(move || {
            let mut client = Connection::open(port).unwrap();
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                busy(&mut client);
            }
        });
        let busy = paced_look_ups(options, redis).percentile(99);
        drop(stop);
        (idle, busy)
    })
}

/// Reads an answer of `BLPOP` and returns the length of its value.
fn receive(client: &mut Connection) -> usize {
    let mut length = 0;
    let take = |answer: Answer<'_>| {
        if let Answer::Text(text) = answer {
            length = text.len();
        }
    };
    client.wait(take).unwrap();
    length
}
