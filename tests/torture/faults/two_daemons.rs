//! Fault: a second daemon with its own database on the same queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Commands as _, Connection};

use super::{Context, Summary};
use crate::daemon::{Installation, Process};
use crate::server::{Persistence, Server};
use crate::setup::Setup;

/// Restart delay of a service manager.
const RESTART_DELAY: Duration = Duration::from_millis(250);

pub fn two_daemons(context: &mut Context) -> Summary {
    let server = Server::start(Persistence::Off);
    let socket = server.socket();
    let (setup, process) = Setup::start(&socket, &socket, "q0", &context.ledger);
    let mut actors = setup.actors(1, &context.random);
    let mut connection = setup.connect();
    let times = context.amount(20, 2);
    let second = Installation::new(&socket, "q0", Arc::clone(&context.ledger));
    for n in 1..=times {
        actors[0].prepare(12);
        actors[0].push(&mut connection, &[]).unwrap();
        if second.start().wait().success() {
            context.ledger.disagree("a second daemon ran on the queue");
        }
        let refusals = second
            .log()
            .matches("already serves the queue \"q0\"")
            .count();
        if refusals != n {
            context
                .ledger
                .disagree("the second daemon did not log why it ended");
        }
        actors[0].collect(&mut connection).unwrap();
    }
    // Only the first daemon may have created users.
    setup.compare(&mut connection, &mut actors);
    // The ownership of the queue expires some seconds after its owner was killed.
    process.kill();
    let killed = Instant::now();
    let mut refused = 0;
    let process = loop {
        let process = second.start();
        if owns_queue(&second, &process, &mut connection) {
            break process;
        }
        refused += 1;
        std::thread::sleep(RESTART_DELAY);
    };
    let took = killed.elapsed();
    if !process.stop().success() {
        context
            .ledger
            .disagree("the second daemon did not stop cleanly");
    }
    let process = setup.installation.start();
    process.wait_ready();
    setup.finish(process, actors);
    Summary {
        amount: format!("{times} refused starts, 1 take-over"),
        notes: format!(
            "the queue was free {:.1} s after the kill -9 of its owner ({refused} starts refused until then)",
            took.as_secs_f64()
        ),
    }
}

/// Waits until the daemon owns the queue or has ended. Returns whether it owns the queue.
fn owns_queue(installation: &Installation, process: &Process, connection: &mut Connection) -> bool {
    while !process.has_ended() {
        let owner: Option<String> = connection.get("q0:owner").unwrap();
        let store =
            std::fs::read_to_string(installation.workdir().join("store.id")).unwrap_or_default();
        if owner.is_some_and(|owner| owner == store.trim()) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}
