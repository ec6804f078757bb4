//! Redis dies, or forgets everything.
//!
//! Each time the actors ask until their connections break. Then the world
//! calms down, and each finds out what became of its requests under way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::connections::clients;
use super::{Context, Told};
use crate::actor::{Actor, Loss};
use crate::daemon::{PATIENCE, Process};
use crate::server::{Persistence, Server};
use crate::setup::Setup;

const ACTORS: usize = 6;

pub fn durable(context: &mut Context) -> Told {
    let kills = context.amount(50, 3);
    episodes(
        context,
        kills,
        Persistence::Everything,
        |context, server, _, _| {
            let pause = context.random.millis(0, 300);
            server.kill();
            std::thread::sleep(pause);
            server.restart();
        },
    )
}

/// The daemon dies, and while the next one recovers, so does Redis: for longer
/// than the daemon goes without looking.
pub fn both(context: &mut Context) -> Told {
    let kills = context.amount(50, 3);
    let everything = Persistence::Everything;
    episodes(
        context,
        kills,
        everything,
        |context, server, setup, process| {
            process.end();
            *process = setup.home.start();
            process.wait_ready();
            std::thread::sleep(context.random.millis(0, 60));
            let pause = context.random.millis(0, 3_000);
            server.kill();
            std::thread::sleep(pause);
            server.restart();
        },
    )
}

pub fn forgetful(context: &mut Context) -> Told {
    let kills = context.amount(50, 3);
    episodes(
        context,
        kills,
        Persistence::Nothing,
        |context, server, _, _| {
            let pause = context.random.millis(0, 1_500);
            server.kill();
            std::thread::sleep(pause);
            server.restart();
        },
    )
}

pub fn flushall(context: &mut Context) -> Told {
    let times = context.amount(50, 3);
    episodes(context, times, Persistence::Nothing, |_, server, _, _| {
        let mut connection = crate::server::connect(&server.socket()).unwrap();
        // In one step with the end of the actors' connections: they must not
        // wait for what is forgotten.
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
) -> Told {
    let loss = match persistence {
        Persistence::Everything => Loss::Never,
        Persistence::Nothing => Loss::Possible,
    };
    let mut server = Server::start(persistence);
    let socket = server.socket();
    let (setup, mut process) = Setup::start(&socket, &socket, "q0", &context.ledger);
    let mut actors = setup.actors(ACTORS, &context.random);
    for _ in 0..times {
        let stop = AtomicBool::new(false);
        let since = std::thread::scope(|scope| {
            for actor in &mut actors {
                let stop = &stop;
                scope.spawn(move || actor.work(stop));
            }
            let enough = context.ledger.answers() + context.random.between(1, 400) as u64;
            if !context.ledger.wait(PATIENCE, |answers| answers >= enough) {
                context.ledger.disagree("no answers any more");
            }
            fault(context, &mut server, &setup, &mut process);
            let since = Instant::now();
            stop.store(true, Ordering::SeqCst);
            since
        });
        let mut connection = setup.connect();
        setup.fence(&mut connection);
        context.ledger.served_again(since, context.promptness());
        setup.calm_down(&mut connection);
        for actor in &mut actors {
            settle(actor, &mut connection, loss);
        }
    }
    setup.finish(process, actors);
    Told {
        amount: times.to_string(),
        notes: context.slowest(),
    }
}

fn settle(actor: &mut Actor, connection: &mut redis::Connection, loss: Loss) {
    actor.settle_pending(connection, loss).unwrap();
}
