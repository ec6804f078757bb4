//! The same actions on a real Platypush node, if `make bench-platypush` has installed one.

use std::path::Path;
use std::time::Duration;

use crate::load::{Load, Measured};
use crate::sections::sessions;
use crate::stage::{Node, Process, Redis};
use crate::table::{Goal, Row, Table, thousands};
use crate::{Options, QUEUE, TARGET};

const IN_FLIGHT: usize = 128;

pub fn run(options: &Options, workdir: &Path, folder: &Path, table: &mut Table) {
    let Some(python) = &options.platypush else {
        return;
    };
    let redis = Redis::start();
    let node = Node::start(&redis, python, &folder.join("node"));
    let token = node.session_token.clone();
    // Twice the time, because one Python interpreter needs longer to reach a stable rate.
    let platypush = measure(
        &redis,
        (&node.queue, &node.target),
        2 * options.time,
        "\"username\": \"bench\"",
        &mut |_| {
            format!(
                "\"action\": \"user.authenticate_session\", \"args\": {{\"session_token\": \"{token}\"}}"
            )
        },
    );
    let (username, password) = (node.username.clone(), node.password.clone());
    let logins = measure(
        &redis,
        (&node.queue, &node.target),
        2 * options.time,
        "\"success\": true",
        &mut |_| {
            format!(
                "\"action\": \"user.authenticate_user\", \"args\": {{\"username\": \"{username}\", \"password\": \"{password}\"}}"
            )
        },
    );
    node.stop();
    let daemon = Process::daemon(&redis, workdir, &[]);
    let userd = measure(
        &redis,
        (QUEUE, TARGET),
        options.time,
        sessions::ANSWER,
        &mut sessions::requests(sessions::SMALL, 0),
    );
    daemon.stop();
    let times = userd.per_second / platypush.per_second;
    table.push(
        Row::new(
            &format!("`authenticate_session`, {IN_FLIGHT} in flight, against Platypush"),
            format!("{}/s", thousands(userd.per_second)),
            format!(
                "Platypush 1.3.39 {}/s: {times:.0} times",
                thousands(platypush.per_second)
            ),
        )
        .goals("≥ 200 times", &[(times, Goal::AtLeast(200.0))]),
    );
    table.push(Row::new(
        "`authenticate_user` of Platypush (PBKDF2, and always `true`)",
        format!("{}/s", thousands(logins.per_second)),
        String::new(),
    ));
}

fn measure(
    redis: &Redis,
    (queue, target): (&str, &str),
    time: Duration,
    expect: &str,
    request: &mut dyn FnMut(u64) -> String,
) -> Measured {
    Load {
        port: redis.port,
        queue,
        target,
        in_flight: IN_FLIGHT,
        pause: Duration::ZERO,
        request,
        expect,
        warm_up: time / 4,
        measured: time,
    }
    .run()
    .unwrap()
}
