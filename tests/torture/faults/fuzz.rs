//! Messages of every bad kind, and three that end the process that runs them,
//! among good ones.

use std::sync::atomic::{AtomicBool, Ordering};

use redis::{Commands as _, Connection};
use serde_json::{Value, json};

use super::fuzzed::{Fuzzer, SECRET};
use super::{Context, Told};
use crate::actor::{Actor, REPLIES};
use crate::daemon::{PATIENCE, Process};
use crate::server::{Persistence, Server};
use crate::setup::Setup;

/// Most bad messages in one push.
const CHUNK: usize = 40;
/// Unclean ends that three poisonous messages may cost: each the first one,
/// and five alone.
const MOST_RESTARTS: u64 = 18;
const DEADLY: &str = "the daemon ended each time it ran this request: it is not run any more";

pub fn fuzz(context: &mut Context) -> Told {
    let messages = context.amount(10_000, 1_000);
    let server = Server::start(Persistence::Nothing);
    let socket = server.socket();
    let (setup, mut process) = Setup::start_with(
        &socket,
        &socket,
        "q0",
        &context.ledger,
        &[("USERD_POISON", "1")],
    );
    let mut actors = setup.actors(3, &context.random);
    let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut fuzzer = Fuzzer::new(context.random.part("fuzzer"), context.full);
    let mut restarts = 0;
    std::thread::scope(|scope| {
        let (neighbour, others) = actors.split_first_mut().unwrap();
        for actor in others {
            let stop = &stop;
            scope.spawn(move || actor.work(stop));
        }
        let (setup, stop, done, fuzzer) = (&setup, &stop, &done, &mut fuzzer);
        let socket = server.socket();
        scope.spawn(move || {
            let mut connection = crate::server::connect(&socket).unwrap();
            push_all(messages, neighbour, &mut connection, fuzzer);
            stop.store(true, Ordering::SeqCst);
            done.store(true, Ordering::SeqCst);
            setup.ledger.ring();
        });
        restarts = supervise(setup, &mut process, done);
        stop.store(true, Ordering::SeqCst);
    });
    if restarts > MOST_RESTARTS {
        context.ledger.disagree(format!(
            "{restarts} restarts, at most {MOST_RESTARTS} are due"
        ));
    }
    let mut connection = setup.connect();
    setup.calm_down(&mut connection);
    check_replies(context, &mut connection, &fuzzer);
    if setup.home.log().contains(SECRET) {
        context.ledger.disagree("the log holds a value");
    }
    let () = connection.del("q0:dead").unwrap();
    setup.finish(process, actors);
    Told {
        amount: format!("{messages} + 3"),
        notes: format!(
            "{restarts} restarts; longest message {} MiB",
            fuzzer.longest >> 20
        ),
    }
}

/// Starts the daemon again whenever it has ended; how often.
fn supervise(setup: &Setup, process: &mut Process, done: &AtomicBool) -> u64 {
    let mut restarts = 0;
    while !done.load(Ordering::SeqCst) {
        let ended = || process.has_ended();
        if !setup
            .ledger
            .wait(PATIENCE, |_| done.load(Ordering::SeqCst) || ended())
        {
            setup.ledger.disagree("fuzzing came to a halt");
            return restarts;
        }
        if process.has_ended() {
            restarts += 1;
            *process = setup.home.start();
        }
    }
    restarts
}

fn push_all(
    messages: usize,
    neighbour: &mut Actor,
    connection: &mut Connection,
    fuzzer: &mut Fuzzer,
) {
    let mut pushed = 0;
    let mut poisons = 0;
    while pushed < messages || poisons < 3 {
        let chunk = neighbour.random.between(1, CHUNK).min(messages - pushed);
        let mut among: Vec<_> = (0..chunk).map(|_| fuzzer.message()).collect();
        pushed += chunk;
        // The first alone, later two at once.
        let fresh = match poisons {
            0 if pushed >= messages / 3 => 1..2,
            1 if pushed >= messages * 2 / 3 => 2..4,
            _ => 0..0,
        };
        for poison in fresh.clone() {
            let at = neighbour.random.below(among.len() + 1);
            among.insert(at, poisonous(poison));
        }
        neighbour.prepare(12);
        neighbour.push(connection, &among).unwrap();
        neighbour.collect(connection).unwrap();
        for poison in fresh {
            poisons += 1;
            check_poison(neighbour, connection, poison);
        }
        let letters: Vec<Vec<u8>> = connection.lrange("q0:dead", -100, -1).unwrap();
        let secret = SECRET.as_bytes();
        for letter in letters {
            if letter.windows(secret.len()).any(|part| part == secret) {
                let letter = String::from_utf8_lossy(&letter).into_owned();
                neighbour.disagree(format!("a dead letter holds a value: {letter}"));
            }
        }
    }
}

fn poisonous(number: usize) -> Vec<u8> {
    json!({"type": "request", "action": "user.crash", "id": format!("poison{number}"),
        "args": {"password": SECRET}})
    .to_string()
    .into_bytes()
}

/// It must be answered with an error, and be in the dead letters.
fn check_poison(actor: &Actor, connection: &mut Connection, number: usize) {
    let list = format!("{REPLIES}poison{number}");
    let reply: Option<(String, String)> = connection.blpop(&list, PATIENCE.as_secs_f64()).unwrap();
    let reply: Value = reply
        .and_then(|(_, reply)| serde_json::from_str(&reply).ok())
        .unwrap_or_default();
    if reply["response"]["errors"] != json!([DEADLY]) {
        actor.disagree(format!("poison {number} was answered {reply}"));
    }
    let letters: Vec<String> = connection.lrange("q0:dead", 0, -1).unwrap();
    let id = format!("\"poison{number}\"");
    let found = letters
        .iter()
        .filter(|letter| letter.contains(&id) && letter.contains(DEADLY));
    if found.count() != 1 {
        actor.disagree(format!("poison {number} is not in the dead letters once"));
    }
}

/// A reply for each message that must have one, and no second one.
fn check_replies(context: &Context, connection: &mut Connection, fuzzer: &Fuzzer) {
    for (id, due) in &fuzzer.ids {
        let replies: usize = connection.llen(format!("{REPLIES}{id}")).unwrap();
        if replies > 1 || (*due && replies == 0) {
            context
                .ledger
                .disagree(format!("{replies} replies to fuzzed {id}"));
        }
    }
}
