//! Fault: no traffic for longer than every time-out, then a request.

use std::time::Duration;

use super::{Context, Summary};
use crate::server::{Persistence, Server};
use crate::setup::Setup;

/// Longer than the longest time-out of the daemon, 9 s.
const IDLE: Duration = Duration::from_millis(10_500);

pub fn idle(context: &mut Context) -> Summary {
    let (daemons, waves) = (context.amount(100, 4), context.amount(10, 1));
    let server = Server::start(Persistence::Off);
    let socket = server.socket();
    let mut stations: Vec<_> = (0..daemons)
        .map(|n| {
            let (setup, process) =
                Setup::start(&socket, &socket, &format!("q{n}"), &context.ledger);
            let actor = setup.actors(1, &context.random).remove(0);
            (setup, process, actor)
        })
        .collect();
    for _ in 0..waves {
        std::thread::sleep(IDLE);
        for (_, _, actor) in &mut stations {
            let mut connection = actor.connect().unwrap();
            actor.prepare(1);
            actor.push(&mut connection, &[]).unwrap();
            actor.collect(&mut connection).unwrap();
        }
    }
    for (setup, process, actor) in stations {
        setup.finish(process, vec![actor]);
    }
    Summary {
        amount: (daemons * waves).to_string(),
        notes: format!(
            "{waves} × {} s, {daemons} daemons at once",
            IDLE.as_secs_f64()
        ),
    }
}
