//! `authenticate_session` against the null worker, in alternating measurements.

use std::path::Path;
use std::time::Duration;

use crate::load::{Load, Measured};
use crate::population::token;
use crate::stage::{Process, Redis};
use crate::table::{Goal, Row, Table, median, thousands};
use crate::{Options, QUEUE, TARGET};

/// Number of users, and of sessions, in the small store.
pub const SMALL: u64 = 1_000;

/// Returns requests for all sessions of a store in pseudo-random order.
pub fn requests(sessions: u64, from: u64) -> impl FnMut(u64) -> String {
    move |number| {
        // Multiplying by a prime visits every session.
        let token = token((from + number).wrapping_mul(7_919_717) % sessions);
        format!(
            "\"action\": \"user.authenticate_session\", \"args\": {{\"session_token\": \"{token}\"}}"
        )
    }
}

/// Text in a successful reply.
pub const ANSWER: &str = "\"username\": \"user-";

struct Pair {
    null: Measured,
    daemon: Measured,
    cpu_micros: f64,
}

impl Pair {
    fn rate(&self) -> f64 {
        self.daemon.per_second / self.null.per_second
    }

    fn p99(&self) -> f64 {
        self.daemon.percentile(99) / self.null.percentile(99)
    }
}

pub fn run(options: &Options, workdir: &Path, table: &mut Table) {
    let redis = Redis::start();
    for (in_flight, goal) in [(1, 0.80), (128, 0.75), (1_024, 0.75)] {
        let pairs: Vec<_> = (0..options.rounds)
            .map(|_| {
                let worker = Process::null_worker(&redis);
                let null = measure(options, &redis, in_flight, &worker).0;
                worker.stop();
                let daemon = Process::daemon(&redis, workdir, &[]);
                let (daemon_measured, cpu_micros) = measure(options, &redis, in_flight, &daemon);
                daemon.stop();
                Pair {
                    null,
                    daemon: daemon_measured,
                    cpu_micros,
                }
            })
            .collect();
        report(in_flight, goal, &pairs, table);
    }
}

fn report(in_flight: usize, goal: f64, pairs: &[Pair], table: &mut Table) {
    let of = |figure: &dyn Fn(&Pair) -> f64| median(&pairs.iter().map(figure).collect::<Vec<_>>());
    let share = of(&Pair::rate);
    table.push(
        Row::new(
            &format!("`authenticate_session`, {in_flight} in flight"),
            format!("{}/s", thousands(of(&|pair| pair.daemon.per_second))),
            format!(
                "null worker {}/s: {share:.2}",
                thousands(of(&|pair| pair.null.per_second))
            ),
        )
        .goals(&format!("≥ {goal:.2}"), &[(share, Goal::AtLeast(goal))]),
    );
    let times = of(&Pair::p99);
    table.push(
        Row::new(
            &format!("`authenticate_session`, {in_flight} in flight, p99"),
            format!("{:.2} ms", of(&|pair| pair.daemon.percentile(99)) / 1e3),
            format!(
                "null worker {:.2} ms: {times:.2} times",
                of(&|pair| pair.null.percentile(99)) / 1e3
            ),
        )
        .goals("≤ 1.5 times", &[(times, Goal::AtMost(1.5))]),
    );
    if in_flight == 128 {
        let cpu = of(&|pair| pair.cpu_micros);
        table.push(
            Row::new(
                &format!("`authenticate_session`, {in_flight} in flight, processor time"),
                format!("{cpu:.1} µs"),
                String::new(),
            )
            .goals("≤ 10 µs", &[(cpu, Goal::AtMost(10.0))]),
        );
    }
}

/// Runs the load. Returns its result and the worker's processor time per request.
fn measure(
    options: &Options,
    redis: &Redis,
    in_flight: usize,
    worker: &Process,
) -> (Measured, f64) {
    let cpu = worker.cpu_micros();
    let measured = Load {
        port: redis.port,
        queue: QUEUE,
        target: TARGET,
        in_flight,
        pause: Duration::ZERO,
        request: &mut requests(SMALL, 0),
        expect: ANSWER,
        warm_up: options.time / 4,
        measured: options.time,
    }
    .run()
    .unwrap();
    let cpu = worker.cpu_micros() - cpu;
    let per_request = cpu / measured.all_replies();
    (measured, per_request)
}
