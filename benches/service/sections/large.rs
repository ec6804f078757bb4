//! A store with a million users and sessions, against one with a thousand.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::load::{Load, Measured};
use crate::population;
use crate::sections::idle::kib_to_mib;
use crate::sections::sessions;
use crate::stage::{Process, Redis};
use crate::table::{Goal, Row, Table, median, thousands};
use crate::{Options, QUEUE, TARGET};

const LARGE: u64 = 1_000_000;
const MIB: f64 = 1024.0 * 1024.0;

pub fn run(options: &Options, folder: &Path, small: &Path, table: &mut Table) {
    let large = folder.join("large");
    let begin = Instant::now();
    population::populate(&large, LARGE);
    eprintln!("created a million users in {:.0?}", begin.elapsed());
    let live = population::live_bytes(&large);
    let redis = Redis::start();

    let begin = Instant::now();
    let daemon = Process::daemon(&redis, &large, &[]);
    let start = begin.elapsed().as_secs_f64();
    table.push(
        Row::new(
            "start with a million users",
            format!("{start:.1} s"),
            String::new(),
        )
        .goals("≤ 3 s", &[(start, Goal::AtMost(3.0))]),
    );
    let cold = measure(options.time, &redis, LARGE, 0);
    // Reads each session once, which fills the cache.
    read_all_sessions(&redis);
    let mut rates = Vec::new();
    for _ in 0..options.rounds {
        let rate = measure(options.time, &redis, LARGE, 0).per_second;
        let other = Redis::start();
        let small = Process::daemon(&other, small, &[]);
        let small_rate = measure(options.time, &other, sessions::SMALL, 0).per_second;
        small.stop();
        rates.push((rate, small_rate));
    }
    let of =
        |figure: &dyn Fn(&(f64, f64)) -> f64| median(&rates.iter().map(figure).collect::<Vec<_>>());
    let share = of(&|(large, small)| large / small);
    table.push(
        Row::new(
            "`authenticate_session`, a million sessions, 128 in flight",
            format!("{}/s", thousands(of(&|(large, _)| *large))),
            format!(
                "small store {}/s: {share:.2} ({}/s on first reads)",
                thousands(of(&|(_, small)| *small)),
                thousands(cold.per_second)
            ),
        )
        .goals("≥ 0.8", &[(share, Goal::AtLeast(0.8))]),
    );
    let mib = kib_to_mib(daemon.memory_kib().1);
    daemon.stop();
    table.push(
        Row::new(
            "peak memory with a million users",
            format!("{mib:.0} MiB"),
            String::new(),
        )
        .goals("≤ 400 MiB", &[(mib, Goal::AtMost(400.0))]),
    );
    let disk = size_of(&large.join("db"));
    let times = disk / live;
    table.push(
        Row::new(
            "database on disk, a million users",
            format!("{:.0} MiB", disk / MIB),
            format!("live bytes {:.0} MiB: {times:.1} times", live / MIB),
        )
        .goals("≤ 3 times", &[(times, Goal::AtMost(3.0))]),
    );
}

fn measure(time: Duration, redis: &Redis, sessions: u64, from: u64) -> Measured {
    Load {
        port: redis.port,
        queue: QUEUE,
        target: TARGET,
        in_flight: 128,
        pause: Duration::ZERO,
        request: &mut sessions::requests(sessions, from),
        expect: sessions::ANSWER,
        warm_up: time / 4,
        measured: time,
    }
    .run()
    .unwrap()
}

fn read_all_sessions(redis: &Redis) {
    let mut sent = 0;
    while sent < LARGE {
        let measured = measure(Duration::from_secs(4), redis, LARGE, sent);
        sent += measured.count();
    }
}

fn size_of(folder: &Path) -> f64 {
    let files = std::fs::read_dir(folder).unwrap();
    let sizes = files.map(|file| file.unwrap().metadata().unwrap().len());
    #[expect(clippy::cast_precision_loss, reason = "some billions")]
    let sum = sizes.sum::<u64>() as f64;
    sum
}
