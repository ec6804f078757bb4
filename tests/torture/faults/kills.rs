//! The daemon dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Context, Told};
use crate::actor::Actor;
use crate::daemon::{PATIENCE, Process};
use crate::server::{Persistence, Server};
use crate::setup::Setup;

const ACTORS: usize = 8;
/// Where a test build can be made to abort. `after commit` is before the
/// flush: sled has the group, and nothing of it is on disk.
const POINTS: &[&str] = &[
    "after move",
    "before commit",
    "after commit",
    "after flush",
    "before reply",
    "after reply",
    "in recovery",
    "in shutdown",
];

/// Runs `faults` while actors ask and judge, and then checks everything.
pub fn under_load(
    context: &mut Context,
    faults: impl FnOnce(&mut Context, &Setup, Process) -> (Process, Told),
) -> Told {
    let server = Server::start(Persistence::Nothing);
    let socket = server.socket();
    let (setup, process) = Setup::start(&socket, &socket, "q0", &context.ledger);
    let actors = setup.actors(ACTORS, &context.random);
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = actors
        .into_iter()
        .map(|mut actor: Actor| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                actor.work(&stop);
                actor
            })
        })
        .collect();
    let (process, told) = faults(context, &setup, process);
    stop.store(true, Ordering::SeqCst);
    let actors = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    setup.finish(process, actors);
    told
}

pub fn sigkill(context: &mut Context) -> Told {
    under_load(context, |context, setup, mut process| {
        let kills = context.amount(1_000, 15);
        let requests = context.amount(20_000, 300) as u64;
        for _ in 0..kills {
            // Some die while they start up, most while they recover or serve.
            if context.random.chance(75) {
                process.wait_ready();
            }
            // The instant is the fault itself.
            std::thread::sleep(context.random.millis(0, 250));
            process.kill();
            process = setup.home.start();
        }
        let killed_under = setup.ledger.requests();
        setup
            .ledger
            .wait(PATIENCE * 10, |_| setup.ledger.requests() >= requests);
        let told = Told {
            amount: format!("{kills} kills"),
            notes: format!(
                "three in four instants counted from its being ready; \
                 {killed_under} of the requests were sent before the last kill"
            ),
        };
        (process, told)
    })
}

pub fn crash_points(context: &mut Context) -> Told {
    under_load(context, |context, setup, mut process| {
        let times = context.amount(50, 2);
        let mut missed = 0;
        for point in POINTS {
            let mut aborts = 0;
            while aborts < times {
                end_unarmed(context, point, process);
                let (shutdown, recovery) = (*point == "in shutdown", *point == "in recovery");
                let first = shutdown || recovery;
                let n = if first {
                    1
                } else {
                    context.random.between(1, 20)
                };
                let armed = setup.home.start_armed(point, n);
                let answers = if shutdown { 20 } else { 2_000 };
                if armed.ends_within(answers) {
                    aborts += 1;
                } else if shutdown {
                    aborts += usize::from(!armed.stop().success());
                } else {
                    // Too little was left to recover: once more.
                    missed += 1;
                    armed.kill();
                }
                process = setup.home.start();
                // Unarmed, it must get somewhere.
                process.ends_within(50);
                if process.has_ended() {
                    setup.ledger.disagree("an unarmed run ended");
                }
            }
        }
        let told = Told {
            amount: format!("{times} at each of {} points", POINTS.len()),
            notes: format!(
                "{}; {missed} armed runs were never at their point and are not counted",
                POINTS.join(", ")
            ),
        };
        (process, told)
    })
}

/// Ends a run before an armed one: in a way that leaves something to
/// recover, where that is wanted.
fn end_unarmed(context: &mut Context, point: &str, process: Process) {
    if point == "in recovery" || context.random.chance(50) {
        process.kill();
    } else if !process.stop().success() {
        context
            .ledger
            .disagree("an unarmed run did not stop cleanly");
    }
}
