//! A flood of logins above the rate of password checks, and its effect on other clients: on
//! look-ups, and on logins with the correct password.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::Measured;
use crate::population::{PASSWORD, username};
use crate::resp::{Answer, Connection};
use crate::sections::passwords::paced_look_ups;
use crate::stage::{Process, Redis};
use crate::table::{Goal, Row, Table, thousands};
use crate::{Options, QUEUE};

/// Number of logins pushed at once when the flood starts.
const INITIAL_LOGINS: u32 = 20_000;
/// Number of logins pushed in each later interval: 500 a second.
const LOGINS_PER_INTERVAL: u32 = 10;
const INTERVAL: Duration = Duration::from_millis(20);
/// The user who logs in during the flood.
const USER: u64 = 7;
/// The default time-out of `user_daemon.py`.
const LOGIN_TIMEOUT_SECONDS: &str = "5";
/// Pause between two logins of that user.
const PAUSE: Duration = Duration::from_millis(250);

/// Names in the logins of a flood.
#[derive(Clone, Copy)]
enum Flood {
    OneName,
    DistinctNames,
}

impl Flood {
    const fn description(self) -> &'static str {
        match self {
            Self::OneName => "for one name",
            Self::DistinctNames => "for distinct names",
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

/// Results of the logins with the correct password.
#[derive(Default)]
struct Attempts {
    all: u32,
    accepted: u32,
    refused: u32,
    /// Times of the accepted logins in milliseconds.
    millis: Vec<u128>,
}

pub fn run(options: &Options, workdir: &Path, table: &mut Table) {
    for flood in [Flood::OneName, Flood::DistinctNames] {
        let redis = Redis::start();
        let daemon = Process::daemon(&redis, workdir, &[]);
        let idle = paced_look_ups(options, &redis);
        let (busy, mut attempts) = measure(flood, options, &redis);
        // Killed, to not wait for the remaining logins.
        drop(daemon);
        look_ups(flood, &idle, &busy, table);
        logins(flood, &mut attempts, table);
    }
}

/// Measures look-ups and logins of a user during a flood.
fn measure(flood: Flood, options: &Options, redis: &Redis) -> (Measured, Attempts) {
    let port = redis.port;
    thread::scope(|scope| {
        let mut client = Connection::open(port).unwrap();
        push(&mut client, flood, 0..INITIAL_LOGINS);
        let (stop, stopped) = channel::<()>();
        scope.spawn(move || {
            let mut number = INITIAL_LOGINS;
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                push(&mut client, flood, number..number + LOGINS_PER_INTERVAL);
                number += LOGINS_PER_INTERVAL;
            }
        });
        let (end, ended) = channel::<()>();
        let attempts = scope.spawn(move || {
            let mut client = Connection::open(port).unwrap();
            let mut attempts = Attempts::default();
            while ended.try_recv() == Err(TryRecvError::Empty) {
                attempts.log_in(&mut client);
                thread::sleep(PAUSE);
            }
            attempts
        });
        let busy = paced_look_ups(options, redis);
        drop(end);
        let attempts = attempts.join().unwrap();
        drop(stop);
        (busy, attempts)
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

impl Attempts {
    fn log_in(&mut self, client: &mut Connection) {
        self.all += 1;
        let id = format!("attempt-{}", self.all);
        let message = login(&username(USER), PASSWORD, &id);
        let list = format!("platypush/responses/{id}");
        let start = Instant::now();
        client.command([b"RPUSH", QUEUE.as_bytes(), message.as_bytes()]);
        client.command([b"BLPOP", list.as_bytes(), LOGIN_TIMEOUT_SECONDS.as_bytes()]);
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
            self.accepted += 1;
            self.millis.push(start.elapsed().as_millis());
        } else if reply.contains("Too busy") {
            self.refused += 1;
        }
    }

    fn share(&self) -> f64 {
        f64::from(self.accepted) / f64::from(self.all.max(1))
    }
}

fn look_ups(flood: Flood, idle: &Measured, busy: &Measured, table: &mut Table) {
    let (idle, busy) = (idle.percentile(99), busy.percentile(99));
    table.push(
        Row::new(
            &format!(
                "p99 of `authenticate_session` during a flood of {} logins at once, then 500/s, {}",
                thousands(INITIAL_LOGINS.into()),
                flood.description()
            ),
            format!("{:.2} ms", busy / 1e3),
            format!("idle {:.2} ms", idle / 1e3),
        )
        .goals("≤ 50 ms", &[(busy, Goal::AtMost(50_000.0))]),
    );
}

fn logins(flood: Flood, attempts: &mut Attempts, table: &mut Table) {
    attempts.millis.sort_unstable();
    let middle = attempts.millis.get(attempts.millis.len() / 2);
    let median = middle.map_or_else(|| "none".into(), |millis| format!("{millis} ms"));
    let row = Row::new(
        &format!(
            "correct logins under another name during the flood {}, accepted within 5 s",
            flood.description()
        ),
        format!(
            "{:.0} % of {} attempts",
            attempts.share() * 100.0,
            attempts.all
        ),
        format!(
            "{} refused as too busy; median of the accepted {median}",
            attempts.refused
        ),
    );
    table.push(match flood {
        Flood::OneName => row.goals("≥ 95 %", &[(attempts.share(), Goal::AtLeast(0.95))]),
        Flood::DistinctNames => row,
    });
}
