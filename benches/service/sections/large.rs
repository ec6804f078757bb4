//! A million users with a session each, against a thousand.

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
    eprintln!("a million users made in {:.0?}", begin.elapsed());
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
    // Each session once: then all are known that there is room for.
    all_once(&redis);
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
            "`authenticate_session` of any of a million, 128 in flight",
            format!("{}/s", thousands(of(&|(large, _)| *large))),
            format!(
                "small store {}/s: {share:.2} ({}/s at the first time)",
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
            "memory then, at its highest",
            format!("{mib:.0} MiB"),
            String::new(),
        )
        .goals("≤ 400 MiB", &[(mib, Goal::AtMost(400.0))]),
    );
    let disk = size_of(&large.join("db"));
    let times = disk / live;
    table.push(
        Row::new(
            "on disk",
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

fn all_once(redis: &Redis) {
    let mut asked = 0;
    while asked < LARGE {
        let measured = measure(Duration::from_secs(4), redis, LARGE, asked);
        asked += measured.count();
    }
}

fn size_of(folder: &Path) -> f64 {
    let files = std::fs::read_dir(folder).unwrap();
    let sizes = files.map(|file| file.unwrap().metadata().unwrap().len());
    #[expect(clippy::cast_precision_loss, reason = "some billions")]
    let sum = sizes.sum::<u64>() as f64;
    sum
}
