//! Durable mutations: `delete_session`, whose reply is sent after an `fdatasync`.

use std::path::Path;
use std::time::Duration;

use crate::limits::single_writes_per_second;
use crate::load::{Load, Measured};
use crate::population::{self, token};
use crate::stage::{Process, Redis};
use crate::table::{Goal, Row, Table, thousands};
use crate::{Options, QUEUE, TARGET};

/// Sessions to delete: more than one measurement can delete.
const SESSIONS: u64 = 200_000;

pub fn run(options: &Options, folder: &Path, table: &mut Table) {
    let workdir = folder.join("mutations");
    population::populate(&workdir, SESSIONS);
    let limit = single_writes_per_second(folder, options.time);
    let redis = Redis::start();
    let daemon = Process::daemon(&redis, &workdir, &[]);
    let measured = delete(&redis, 0, options.time);
    daemon.stop();
    let times = measured.per_second / limit;
    table.push(
        Row::new(
            "`delete_session`, 128 in flight",
            format!("{}/s", thousands(measured.per_second)),
            format!(
                "one flush and fdatasync per write {}/s: {times:.1} times",
                thousands(limit)
            ),
        )
        .goals("≥ 8 times", &[(times, Goal::AtLeast(8.0))]),
    );
    // A second, shorter run, because counting slows the daemon down.
    let counted = folder.join("fdatasyncs");
    let daemon = Process::counting_fdatasyncs(&redis, &workdir, &counted);
    let deleted = delete(&redis, measured.count(), options.time / 3);
    daemon.stop();
    let syncs = fdatasyncs(&counted);
    let each = deleted.all_replies() / syncs;
    table.push(
        Row::new(
            "mutations per fdatasync",
            format!("{each:.0}"),
            format!("{} fdatasync calls counted", thousands(syncs)),
        )
        .goals("≤ 256", &[(each, Goal::AtMost(256.0))]),
    );
}

/// Deletes sessions, starting at number `from`.
fn delete(redis: &Redis, from: u64, time: Duration) -> Measured {
    Load {
        port: redis.port,
        queue: QUEUE,
        target: TARGET,
        in_flight: 128,
        pause: Duration::ZERO,
        request: &mut |number| {
            let token = token(from + number);
            format!(
                "\"action\": \"user.delete_session\", \"args\": {{\"session_token\": \"{token}\"}}"
            )
        },
        expect: "\"output\": true",
        warm_up: time / 4,
        measured: time,
    }
    .run()
    .unwrap()
}

/// Returns the number of calls in a summary of strace: `% time, seconds, usecs/call, calls, …`.
fn fdatasyncs(summary: &Path) -> f64 {
    let text = std::fs::read_to_string(summary).unwrap();
    let line = text.lines().find(|line| line.ends_with("fdatasync"));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok())
        .unwrap_or_else(|| panic!("no fdatasync was counted:\n{text}"))
}
