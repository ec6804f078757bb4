//! Two daemons with databases of their own on one queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Commands as _, Connection};

use super::{Context, Told};
use crate::daemon::{Home, Process};
use crate::server::{Persistence, Server};
use crate::setup::Setup;

/// After which a service manager starts a daemon again.
const RESTART: Duration = Duration::from_millis(250);

pub fn two_daemons(context: &mut Context) -> Told {
    let server = Server::start(Persistence::Nothing);
    let socket = server.socket();
    let (setup, process) = Setup::start(&socket, &socket, "q0", &context.ledger);
    let mut actors = setup.actors(1, &context.random);
    let mut connection = setup.connect();
    let times = context.amount(20, 2);
    let second = Home::new(&socket, "q0", Arc::clone(&context.ledger));
    for n in 1..=times {
        actors[0].prepare(12);
        actors[0].push(&mut connection, &[]).unwrap();
        if second.start().wait().success() {
            context.ledger.disagree("a second daemon ran on the queue");
        }
        let told = second
            .log()
            .matches("works on the queue \"q0\" already")
            .count();
        if told != n {
            context
                .ledger
                .disagree("the second daemon did not say why it ended");
        }
        actors[0].collect(&mut connection).unwrap();
    }
    // The users must all be the first one's.
    setup.compare(&mut connection, &mut actors);
    // The claim outlives its owner for a while, and then the queue is free.
    process.kill();
    let killed = Instant::now();
    let mut refused = 0;
    let process = loop {
        let process = second.start();
        if owns_the_queue(&second, &process, &mut connection) {
            break process;
        }
        refused += 1;
        std::thread::sleep(RESTART);
    };
    let took = killed.elapsed();
    if !process.stop().success() {
        context
            .ledger
            .disagree("the second daemon did not stop cleanly");
    }
    let process = setup.home.start();
    process.wait_ready();
    setup.finish(process, actors);
    Told {
        amount: format!("{times} refused starts, 1 take-over"),
        notes: format!(
            "the queue was free {:.1} s after the kill -9 of its owner ({refused} starts refused until then)",
            took.as_secs_f64()
        ),
    }
}

/// Waits until the daemon of this home has the queue, or has ended.
fn owns_the_queue(home: &Home, process: &Process, connection: &mut Connection) -> bool {
    while !process.has_ended() {
        let owner: Option<String> = connection.get("q0:owner").unwrap();
        let store = std::fs::read_to_string(home.workdir().join("store.id")).unwrap_or_default();
        if owner.is_some_and(|owner| owner == store.trim()) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}
