//! More logins than can be served, and what others notice of them: look-ups,
//! and logins with the right password.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::Measured;
use crate::population::{PASSWORD, username};
use crate::resp::{Answer, Connection};
use crate::sections::passwords::now_and_then;
use crate::stage::{Process, Redis};
use crate::table::{Goal, Row, Table, thousands};
use crate::{Options, QUEUE};

/// Pushed at once, at the beginning.
const AT_ONCE: u32 = 20_000;
/// After that, so many in every step of this length: 500 a second.
const IN_A_STEP: u32 = 10;
const STEP: Duration = Duration::from_millis(20);
/// The user who logs in meanwhile, and how long the forwarder waits for it.
const USER: u64 = 7;
const PATIENCE_SECONDS: &str = "5";
/// Between two logins of that user.
const PAUSE: Duration = Duration::from_millis(250);

/// What the logins of a flood are for.
#[derive(Clone, Copy)]
enum Flood {
    OneName,
    DistinctNames,
}

impl Flood {
    const fn described(self) -> &'static str {
        match self {
            Self::OneName => "for one name",
            Self::DistinctNames => "each for another name",
        }
    }

    fn message(self, number: u32) -> String {
        let name = match self {
            Self::OneName => username(1),
            Self::DistinctNames => format!("flood-{number}"),
        };
        login(&name, "wrong", "flood")
    }
}

fn login(name: &str, password: &str, id: &str) -> String {
    format!(
        "{{\"type\": \"request\", \"action\": \"user.authenticate_user\", \"args\": \
         {{\"username\": \"{name}\", \"password\": \"{password}\"}}, \"id\": \"{id}\"}}"
    )
}

/// How the logins with the right password fared.
#[derive(Default)]
struct Tries {
    all: u32,
    let_in: u32,
    refused: u32,
    /// Of those that were let in, in milliseconds.
    millis: Vec<u128>,
}

pub fn run(options: &Options, workdir: &Path, table: &mut Table) {
    for flood in [Flood::OneName, Flood::DistinctNames] {
        let redis = Redis::start();
        let daemon = Process::daemon(&redis, workdir, &[]);
        let idle = now_and_then(options, &redis);
        let (busy, mut tries) = inside(flood, options, &redis);
        // What still waits is not worth waiting for.
        drop(daemon);
        look_ups(flood, &idle, &busy, table);
        logins(flood, &mut tries, table);
    }
}

/// Look-ups, and logins of a user, while a flood is on.
fn inside(flood: Flood, options: &Options, redis: &Redis) -> (Measured, Tries) {
    let port = redis.port;
    thread::scope(|scope| {
        let mut client = Connection::open(port).unwrap();
        push(&mut client, flood, 0..AT_ONCE);
        let (stop, stopped) = channel::<()>();
        scope.spawn(move || {
            let mut number = AT_ONCE;
            while stopped.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
                push(&mut client, flood, number..number + IN_A_STEP);
                number += IN_A_STEP;
            }
        });
        let (end, ended) = channel::<()>();
        let tries = scope.spawn(move || {
            let mut client = Connection::open(port).unwrap();
            let mut tries = Tries::default();
            while ended.try_recv() == Err(TryRecvError::Empty) {
                tries.one(&mut client);
                thread::sleep(PAUSE);
            }
            tries
        });
        let busy = now_and_then(options, redis);
        drop(end);
        let tries = tries.join().unwrap();
        drop(stop);
        (busy, tries)
    })
}

fn push(client: &mut Connection, flood: Flood, numbers: std::ops::Range<u32>) {
    let count = numbers.len();
    client.begin(2 + count);
    client.word(b"RPUSH");
    client.word(QUEUE.as_bytes());
    for number in numbers {
        client.word(flood.message(number).as_bytes());
    }
    client.send().unwrap();
    client.wait(|_| {}).unwrap();
}

impl Tries {
    fn one(&mut self, client: &mut Connection) {
        self.all += 1;
        let id = format!("try-{}", self.all);
        let message = login(&username(USER), PASSWORD, &id);
        let list = format!("platypush/responses/{id}");
        let start = Instant::now();
        client.command([b"RPUSH", QUEUE.as_bytes(), message.as_bytes()]);
        client.command([b"BLPOP", list.as_bytes(), PATIENCE_SECONDS.as_bytes()]);
        client.send().unwrap();
        client.wait(|_| {}).unwrap();
        let mut reply = String::new();
        let take = |answer: Answer<'_>| {
            if let Answer::Text(text) = answer {
                reply = String::from_utf8_lossy(text).into_owned();
            }
        };
        client.wait(take).unwrap();
        if reply.contains("\"output\": true") {
            self.let_in += 1;
            self.millis.push(start.elapsed().as_millis());
        } else if reply.contains("Too busy") {
            self.refused += 1;
        }
    }

    fn share(&self) -> f64 {
        f64::from(self.let_in) / f64::from(self.all.max(1))
    }
}

fn look_ups(flood: Flood, idle: &Measured, busy: &Measured, table: &mut Table) {
    let (idle, busy) = (idle.percentile(99), busy.percentile(99));
    table.push(
        Row::new(
            &format!(
                "p99 of `authenticate_session` while {} logins come at once and 500 a second \
                 after, {}",
                thousands(AT_ONCE.into()),
                flood.described()
            ),
            format!("{:.2} ms", busy / 1e3),
            format!("idle {:.2} ms", idle / 1e3),
        )
        .goals("≤ 50 ms", &[(busy, Goal::AtMost(50_000.0))]),
    );
}

fn logins(flood: Flood, tries: &mut Tries, table: &mut Table) {
    tries.millis.sort_unstable();
    let middle = tries.millis.get(tries.millis.len() / 2);
    let median = middle.map_or_else(|| "none".into(), |millis| format!("{millis} ms"));
    let row = Row::new(
        "a right login under another name then, answered within 5 s",
        format!("{:.0} % of {} tries", tries.share() * 100.0, tries.all),
        format!(
            "{} refused as too busy; median of the others {median}",
            tries.refused
        ),
    );
    table.push(match flood {
        Flood::OneName => row.goals("≥ 95 %", &[(tries.share(), Goal::AtLeast(0.95))]),
        Flood::DistinctNames => row,
    });
}
