//! Malformed messages, and three poison requests that crash the daemon, among valid requests.

use std::sync::atomic::{AtomicBool, Ordering};

use redis::{Commands as _, Connection};
use serde_json::{Value, json};

use super::fuzzed::{Fuzzer, SECRET};
use super::{Context, Summary};
use crate::actor::{Actor, REPLIES};
use crate::daemon::{Process, TEST_TIMEOUT};
use crate::server::{Persistence, Server};
use crate::setup::Setup;

/// Maximum number of malformed messages in one push.
const MAX_CHUNK: usize = 40;
/// Maximum number of crashes caused by three poison requests: each crashes the daemon once in a
/// batch, and five times when run alone.
const MAX_RESTARTS: u64 = 18;
const DEADLY: &str = "the daemon ended each time it ran this request: it is not run any more";

pub fn fuzz(context: &mut Context) -> Summary {
    let messages = context.amount(10_000, 1_000);
    let server = Server::start(Persistence::Off);
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
        let (pusher, others) = actors.split_first_mut().unwrap();
        for actor in others {
            let stop = &stop;
            scope.spawn(move || actor.work(stop));
        }
        let (setup, stop, done, fuzzer) = (&setup, &stop, &done, &mut fuzzer);
        let socket = server.socket();
        scope.spawn(move || {
            let mut connection = crate::server::connect(&socket).unwrap();
            push_all(messages, pusher, &mut connection, fuzzer);
            stop.store(true, Ordering::SeqCst);
            done.store(true, Ordering::SeqCst);
            setup.ledger.notify();
        });
        restarts = supervise(setup, &mut process, done);
        stop.store(true, Ordering::SeqCst);
    });
    if restarts > MAX_RESTARTS {
        context.ledger.disagree(format!(
            "{restarts} restarts, at most {MAX_RESTARTS} are expected"
        ));
    }
    let mut connection = setup.connect();
    setup.wait_until_idle(&mut connection);
    check_replies(context, &mut connection, &fuzzer);
    if setup.installation.log().contains(SECRET) {
        context
            .ledger
            .disagree("the log contains an argument value");
    }
    let () = connection.del("q0:dead").unwrap();
    setup.finish(process, actors);
    Summary {
        amount: format!("{messages} + 3"),
        notes: format!(
            "{restarts} restarts; longest message {} MiB",
            fuzzer.longest >> 20
        ),
    }
}

/// Restarts the daemon each time it ends. Returns the number of restarts.
fn supervise(setup: &Setup, process: &mut Process, done: &AtomicBool) -> u64 {
    let mut restarts = 0;
    while !done.load(Ordering::SeqCst) {
        let ended = || process.has_ended();
        if !setup
            .ledger
            .wait(TEST_TIMEOUT, |_| done.load(Ordering::SeqCst) || ended())
        {
            setup.ledger.disagree("fuzzing stalled");
            return restarts;
        }
        if process.has_ended() {
            restarts += 1;
            *process = setup.installation.start();
        }
    }
    restarts
}

fn push_all(messages: usize, actor: &mut Actor, connection: &mut Connection, fuzzer: &mut Fuzzer) {
    let mut pushed = 0;
    let mut poisons = 0;
    while pushed < messages || poisons < 3 {
        let chunk = actor.random.between(1, MAX_CHUNK).min(messages - pushed);
        let mut among: Vec<_> = (0..chunk).map(|_| fuzzer.message()).collect();
        pushed += chunk;
        // First one poison request alone, later two in one push.
        let new_poisons = match poisons {
            0 if pushed >= messages / 3 => 1..2,
            1 if pushed >= messages * 2 / 3 => 2..4,
            _ => 0..0,
        };
        for poison in new_poisons.clone() {
            let at = actor.random.below(among.len() + 1);
            among.insert(at, poison_request(poison));
        }
        actor.prepare(12);
        actor.push(connection, &among).unwrap();
        actor.collect(connection).unwrap();
        for poison in new_poisons {
            poisons += 1;
            check_poison(actor, connection, poison);
        }
        let letters: Vec<Vec<u8>> = connection.lrange("q0:dead", -100, -1).unwrap();
        let secret = SECRET.as_bytes();
        for letter in letters {
            if letter.windows(secret.len()).any(|part| part == secret) {
                let letter = String::from_utf8_lossy(&letter).into_owned();
                actor.disagree(format!(
                    "a dead letter contains an argument value: {letter}"
                ));
            }
        }
    }
}

fn poison_request(number: usize) -> Vec<u8> {
    json!({"type": "request", "action": "user.crash", "id": format!("poison{number}"),
        "args": {"password": SECRET}})
    .to_string()
    .into_bytes()
}

/// Checks that a poison request got an error reply and is in the dead letters once.
fn check_poison(actor: &Actor, connection: &mut Connection, number: usize) {
    let list = format!("{REPLIES}poison{number}");
    let reply: Option<(String, String)> =
        connection.blpop(&list, TEST_TIMEOUT.as_secs_f64()).unwrap();
    let reply: Value = reply
        .and_then(|(_, reply)| serde_json::from_str(&reply).ok())
        .unwrap_or_default();
    if reply["response"]["errors"] != json!([DEADLY]) {
        actor.disagree(format!("poison request {number} got {reply}"));
    }
    let letters: Vec<String> = connection.lrange("q0:dead", 0, -1).unwrap();
    let id = format!("\"poison{number}\"");
    let found = letters
        .iter()
        .filter(|letter| letter.contains(&id) && letter.contains(DEADLY));
    if found.count() != 1 {
        actor.disagree(format!(
            "poison request {number} is not in the dead letters exactly once"
        ));
    }
}

/// Checks that each message got at most one reply, and exactly one where a reply is required.
fn check_replies(context: &Context, connection: &mut Connection, fuzzer: &Fuzzer) {
    for (id, required) in &fuzzer.ids {
        let replies: usize = connection.llen(format!("{REPLIES}{id}")).unwrap();
        if replies > 1 || (*required && replies == 0) {
            context
                .ledger
                .disagree(format!("{replies} replies to fuzzed {id}"));
        }
    }
}
