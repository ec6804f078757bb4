//! Rate of password checks against the bare argon2 crate, and look-ups while many logins wait.

use std::path::Path;
use std::time::Duration;

use crate::limits::argon2_per_second;
use crate::load::{Load, Measured};
use crate::population::{PASSWORD, username};
use crate::resp::Connection;
use crate::sections::idle::kib_to_mib;
use crate::sections::sessions;
use crate::stage::{Process, Redis};
use crate::table::{Goal, Row, Table, median, thousands};
use crate::{Options, QUEUE, TARGET};

/// Number of logins that wait while look-ups are measured.
const WAITING: u32 = 5_000;

fn login(number: u64) -> String {
    // Different names, because the throttle runs the attempts under one name one by one.
    let username = username(number % sessions::SMALL);
    format!(
        "\"action\": \"user.authenticate_user\", \"args\": {{\"username\": \"{username}\", \"password\": \"{PASSWORD}\"}}"
    )
}

pub fn run(options: &Options, workdir: &Path, table: &mut Table) {
    let threads = std::thread::available_parallelism().unwrap().get();
    let redis = Redis::start();
    let pairs: Vec<_> = (0..options.rounds)
        .map(|_| {
            let limit = argon2_per_second(threads, options.time);
            let daemon = Process::daemon(&redis, workdir, &[]);
            let measured = Load {
                port: redis.port,
                queue: QUEUE,
                target: TARGET,
                in_flight: 16,
                pause: Duration::ZERO,
                request: &mut login,
                expect: "\"output\": true",
                warm_up: options.time / 4,
                measured: options.time,
            }
            .run()
            .unwrap();
            daemon.stop();
            (measured.per_second, limit)
        })
        .collect();
    let of =
        |figure: &dyn Fn(&(f64, f64)) -> f64| median(&pairs.iter().map(figure).collect::<Vec<_>>());
    let share = of(&|(rate, limit)| rate / limit);
    table.push(
        Row::new(
            &format!("password checks, {threads} cores"),
            format!("{:.1}/s", of(&|(rate, _)| *rate)),
            format!("argon2 crate {:.1}/s: {share:.2}", of(&|(_, limit)| *limit)),
        )
        .goals("≥ 0.95", &[(share, Goal::AtLeast(0.95))]),
    );
    look_ups_while_logins_wait(options, workdir, of(&|(_, limit)| *limit), &redis, table);
}

fn look_ups_while_logins_wait(
    options: &Options,
    workdir: &Path,
    limit: f64,
    redis: &Redis,
    table: &mut Table,
) {
    // A long `max_login_wait`, so that no login is refused.
    let daemon = Process::daemon(redis, workdir, &[("MAX_LOGIN_WAIT", "3600")]);
    let idle = paced_look_ups(options, redis);
    let mut client = Connection::open(redis.port).unwrap();
    for number in 0..WAITING {
        let request = login(number.into());
        let message = format!("{{\"type\": \"request\", {request}, \"id\": \"login-{number}\"}}");
        client.command([b"RPUSH", QUEUE.as_bytes(), message.as_bytes()]);
    }
    client.send().unwrap();
    for _ in 0..WAITING {
        client.wait(|_| {}).unwrap();
    }
    let before = client.keys();
    let begin = std::time::Instant::now();
    let busy = paced_look_ups(options, redis);
    let answered = client.keys() - before;
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let rate = answered as f64 / begin.elapsed().as_secs_f64();
    let (_, highest) = daemon.memory_kib();
    let mib = kib_to_mib(highest);
    // Killed, to not wait for the remaining logins.
    drop(daemon);
    redis.flush();
    // Measured again, because the speed of the machine may have changed.
    let threads = std::thread::available_parallelism().unwrap().get();
    let limit = f64::midpoint(limit, argon2_per_second(threads, options.time));
    let share = rate / limit;
    let (idle, busy) = (idle.percentile(99), busy.percentile(99));
    let times = busy / idle;
    table.push(
        Row::new(
            &format!(
                "p99 of `authenticate_session` while {} logins wait",
                thousands(WAITING.into())
            ),
            format!("{:.2} ms", busy / 1e3),
            format!("idle {:.2} ms: {times:.1} times", idle / 1e3),
        )
        .goals(
            "≤ 5 times and ≤ 25 ms",
            &[(times, Goal::AtMost(5.0)), (busy, Goal::AtMost(25_000.0))],
        ),
    );
    table.push(
        Row::new(
            &format!(
                "login rate with {} logins waiting",
                thousands(WAITING.into())
            ),
            format!("{share:.2} of the argon2 crate's"),
            String::new(),
        )
        .goals("≥ 0.9", &[(share, Goal::AtLeast(0.9))]),
    );
    table.push(
        Row::new(
            &format!(
                "peak memory with {} logins waiting",
                thousands(WAITING.into())
            ),
            format!("{mib:.0} MiB"),
            String::new(),
        )
        .goals("≤ 150 MiB", &[(mib, Goal::AtMost(150.0))]),
    );
}

/// Sends look-ups one at a time with pauses, which gives the latency that a user sees.
pub fn paced_look_ups(options: &Options, redis: &Redis) -> Measured {
    Load {
        port: redis.port,
        queue: QUEUE,
        target: TARGET,
        in_flight: 1,
        pause: Duration::from_millis(5),
        request: &mut sessions::requests(sessions::SMALL, 0),
        expect: sessions::ANSWER,
        warm_up: options.time / 4,
        measured: 3 * options.time,
    }
    .run()
    .unwrap()
}
