//! Faults in which Redis is killed or flushed.
//!
//! The actors send requests until their connections break. Once the daemon is idle, each actor
//! resolves its pending requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::connections::clients;
use super::{Context, Summary};
use crate::actor::{Actor, Loss};
use crate::daemon::{Process, TEST_TIMEOUT};
use crate::server::{Persistence, Server};
use crate::setup::Setup;

const ACTORS: usize = 6;

pub fn durable(context: &mut Context) -> Summary {
    let kills = context.amount(50, 3);
    episodes(
        context,
        kills,
        Persistence::Always,
        |context, server, _, _| {
            let pause = context.random.millis(0, 300);
            server.kill();
            std::thread::sleep(pause);
            server.restart();
        },
    )
}

/// Kills the daemon, and Redis during the recovery of the next one, for up to 3 s.
pub fn both(context: &mut Context) -> Summary {
    let kills = context.amount(50, 3);
    let persistence = Persistence::Always;
    episodes(
        context,
        kills,
        persistence,
        |context, server, setup, process| {
            process.end();
            *process = setup.installation.start();
            process.wait_ready();
            std::thread::sleep(context.random.millis(0, 60));
            let pause = context.random.millis(0, 3_000);
            server.kill();
            std::thread::sleep(pause);
            server.restart();
        },
    )
}

pub fn forgetful(context: &mut Context) -> Summary {
    let kills = context.amount(50, 3);
    episodes(context, kills, Persistence::Off, |context, server, _, _| {
        let pause = context.random.millis(0, 1_500);
        server.kill();
        std::thread::sleep(pause);
        server.restart();
    })
}

pub fn flushall(context: &mut Context) -> Summary {
    let times = context.amount(50, 3);
    episodes(context, times, Persistence::Off, |_, server, _, _| {
        let mut connection = crate::server::connect(&server.socket()).unwrap();
        // Kills the actors' connections in the same transaction, because the actors would wait in
        // vain for the replies to flushed requests.
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("FLUSHALL");
        for client in clients(&mut connection)
            .iter()
            .filter(|client| !client.daemon)
        {
            pipe.cmd("CLIENT").arg(&["KILL", "ID", &client.id]);
        }
        pipe.exec(&mut connection).unwrap();
    })
}

fn episodes(
    context: &mut Context,
    times: usize,
    persistence: Persistence,
    fault: impl Fn(&mut Context, &mut Server, &Setup, &mut Process),
) -> Summary {
    let loss = match persistence {
        Persistence::Always => Loss::Never,
        Persistence::Off => Loss::Possible,
    };
    let mut server = Server::start(persistence);
    let socket = server.socket();
    let (setup, mut process) = Setup::start(&socket, &socket, "q0", &context.ledger);
    let mut actors = setup.actors(ACTORS, &context.random);
    for _ in 0..times {
        let stop = AtomicBool::new(false);
        let injected_at = std::thread::scope(|scope| {
            for actor in &mut actors {
                let stop = &stop;
                scope.spawn(move || actor.work(stop));
            }
            let limit = context.ledger.replies() + context.random.between(1, 400) as u64;
            if !context
                .ledger
                .wait(TEST_TIMEOUT, |replies| replies >= limit)
            {
                context.ledger.disagree("no more replies");
            }
            fault(context, &mut server, &setup, &mut process);
            let injected_at = Instant::now();
            stop.store(true, Ordering::SeqCst);
            injected_at
        });
        let mut connection = setup.connect();
        setup.barrier(&mut connection);
        context
            .ledger
            .record_downtime(injected_at, context.max_downtime());
        setup.wait_until_idle(&mut connection);
        for actor in &mut actors {
            resolve(actor, &mut connection, loss);
        }
    }
    setup.finish(process, actors);
    Summary {
        amount: times.to_string(),
        notes: context.downtime_note(),
    }
}

fn resolve(actor: &mut Actor, connection: &mut redis::Connection, loss: Loss) {
    actor.resolve_pending(connection, loss).unwrap();
}
