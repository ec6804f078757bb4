//! Faults that end the daemon: SIGKILL at random instants, and aborts at named crash points.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Context, Summary};
use crate::actor::Actor;
use crate::daemon::{Process, TEST_TIMEOUT};
use crate::server::{Persistence, Server};
use crate::setup::Setup;

const ACTORS: usize = 8;
/// Crash points of a test build. `after commit` is before the flush: sled has applied the group,
/// but it is not on disk.
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

/// Runs `faults` while the actors send requests, then checks the final state.
pub fn under_load(
    context: &mut Context,
    faults: impl FnOnce(&mut Context, &Setup, Process) -> (Process, Summary),
) -> Summary {
    let server = Server::start(Persistence::Off);
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
    let (process, summary) = faults(context, &setup, process);
    stop.store(true, Ordering::SeqCst);
    let actors = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    setup.finish(process, actors);
    summary
}

pub fn sigkill(context: &mut Context) -> Summary {
    under_load(context, |context, setup, mut process| {
        let kills = context.amount(1_000, 15);
        let requests = context.amount(20_000, 300) as u64;
        for _ in 0..kills {
            // Kills some during the start, most during recovery or while serving.
            if context.random.chance(75) {
                process.wait_ready();
            }
            // The random instant is part of the fault.
            std::thread::sleep(context.random.millis(0, 250));
            process.kill();
            process = setup.installation.start();
        }
        let sent_before = setup.ledger.requests();
        setup
            .ledger
            .wait(TEST_TIMEOUT * 10, |_| setup.ledger.requests() >= requests);
        let summary = Summary {
            amount: format!("{kills} kills"),
            notes: format!(
                "three in four kills are timed from readiness; \
                 {sent_before} of the requests were sent before the last kill"
            ),
        };
        (process, summary)
    })
}

pub fn crash_points(context: &mut Context) -> Summary {
    under_load(context, |context, setup, mut process| {
        let times = context.amount(50, 2);
        let mut missed = 0;
        for point in POINTS {
            let mut aborts = 0;
            while aborts < times {
                end_unarmed(context, point, process);
                let (shutdown, recovery) = (*point == "in shutdown", *point == "in recovery");
                let only_once = shutdown || recovery;
                let n = if only_once {
                    1
                } else {
                    context.random.between(1, 20)
                };
                let armed = setup.installation.start_armed(point, n);
                let replies = if shutdown { 20 } else { 2_000 };
                if armed.ends_within_replies(replies) {
                    aborts += 1;
                } else if shutdown {
                    aborts += usize::from(!armed.stop().success());
                } else {
                    // The daemon did not reach the point, for example with too little to recover.
                    missed += 1;
                    armed.kill();
                }
                process = setup.installation.start();
                // Without a crash point the daemon must serve requests.
                process.ends_within_replies(50);
                if process.has_ended() {
                    setup.ledger.disagree("an unarmed run ended");
                }
            }
        }
        let summary = Summary {
            amount: format!("{times} at each of {} points", POINTS.len()),
            notes: format!(
                "{}; {missed} armed runs did not reach their point and are not counted",
                POINTS.join(", ")
            ),
        };
        (process, summary)
    })
}

/// Ends the run before an armed one. `in recovery` needs a SIGKILL, which leaves requests to
/// recover.
fn end_unarmed(context: &mut Context, point: &str, process: Process) {
    if point == "in recovery" || context.random.chance(50) {
        process.kill();
    } else if !process.stop().success() {
        context
            .ledger
            .disagree("an unarmed run did not stop cleanly");
    }
}
