//! Whether the time of an answer tells who exists: how well an attacker could
//! tell one kind of user name from another by it, as the area under the ROC
//! curve (AUC) of a threshold. 0.5 is a coin, 1 is certainty.
//!
//! All kinds are asked for in turn, in an order that changes at random, one
//! request at a time over one connection, so that whatever else the machine
//! does meets all of them alike. With `--flood` logins of others pour in
//! meanwhile; then it counts as well how often each kind is refused as too busy,
//! and how soon.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on fails, and says where"
)]

mod client;
mod flood;
mod options;
#[path = "../torture/random.rs"]
#[allow(
    dead_code,
    reason = "the torture program draws more kinds of random values"
)]
mod random;
#[path = "../common/redis_process.rs"]
mod redis_process;
mod stage;
mod statistics;

use std::process::ExitCode;

use self::client::{Answer, Authenticator, Client};
use self::options::{Flood, Options};
use self::random::Random;
use self::stage::Stage;
use self::statistics::{Auc, median};

/// Above this AUC the time tells too much.
const LIMIT: f64 = 0.55;
/// For users whose record was made at a lower cost than today's: a check that is nearly as dear as
/// today's is sometimes dearer than the one it is held against (`credentials/equalizer.rs`).
const LIMIT_OF_OTHER_COSTS: f64 = 0.7;
/// Samples of each kind that are thrown away: caches fill, memory is touched.
const WARM_UP: usize = 20;

/// Inside a flood for distinct names whoever is not refused waits as long as this:
/// shorter than by default, so that there are samples.
const PROMPT: (&str, &str) = ("MAX_LOGIN_WAIT", "1");

/// Attempts under one name before the throttle, at its highest, locks it.
const ATTEMPTS: usize = 100;

/// Names that an attacker would like to tell from others.
struct Kind {
    what: &'static str,
    /// How the names begin: all of one length, so that they are the same work
    /// to read.
    prefix: &'static str,
    micros: Vec<f64>,
    /// Of the answers that were refusals because too many wait.
    refused: Vec<f64>,
}

impl Kind {
    const fn new(what: &'static str, prefix: &'static str) -> Self {
        Self {
            what,
            prefix,
            micros: Vec::new(),
            refused: Vec::new(),
        }
    }
}

fn name(prefix: &str, number: usize) -> String {
    format!("{prefix}{number:03}")
}

/// The kinds that there always are.
const fn unknown_known_and_2fa() -> [Kind; 3] {
    [
        Kind::new("unknown", "nobdy"),
        Kind::new("known", "known"),
        Kind::new("with 2FA", "codes"),
    ]
}

/// Makes so many users of each of those kinds.
fn make_users(client: &mut Client, count: usize) -> Vec<Authenticator> {
    (0..count)
        .map(|number| {
            client.create_user(&name("known", number));
            client.create_user(&name("codes", number));
            client.enable_otp(&name("codes", number))
        })
        .collect()
}

fn main() -> ExitCode {
    let options = match options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("enumeration: {wrong}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let meanwhile = match options.flood {
        None => "",
        Some(Flood::One) => ", in a flood for one name",
        Some(Flood::Distinct) => ", in a flood for distinct names",
    };
    let Options { seed, samples, .. } = options;
    println!("seed {seed}, {samples} samples each{meanwhile}");
    let mut random = Random::new(options.seed);
    let passed = [
        wrong_passwords(&options, &mut random),
        counted(&options, &mut random),
        throttled(&options, &mut random),
    ];
    if passed.iter().all(|passed| *passed) {
        ExitCode::SUCCESS
    } else {
        println!(
            "\nabove {LIMIT} ({LIMIT_OF_OTHER_COSTS} for records of other costs): the time tells who exists"
        );
        ExitCode::FAILURE
    }
}

/// Wrong passwords at the default cost, and records that were made at another.
fn wrong_passwords(options: &Options, random: &mut Random) -> bool {
    let stage = Stage::new();
    stage.make_users(&[
        ("admin", (8, 1)),
        ("least000", (8, 1)),
        ("older000", (12_288, 3)),
    ]);
    stage.import_user("pbkdf000");
    let (_daemon, mut client) = stage.start(&[("THROTTLE__FAILURES", "0"), PROMPT]);
    let authenticators = make_users(&mut client, 1);
    let mut kinds = Vec::from(unknown_known_and_2fa());
    kinds.push(Kind::new("record of 12 MiB, t=3", "older"));
    kinds.push(Kind::new("record of 8 KiB, t=1", "least"));
    kinds.push(Kind::new("record of a node, PBKDF2", "pbkdf"));
    let _flood = stage.flood(options.flood);
    sample(&mut kinds, options, random, |prefix, _, random| {
        guess(&mut client, prefix, 0, &authenticators, random)
    });
    report("Wrong passwords, throttle off", &kinds)
}

/// Wrong passwords while failures are counted, but nobody has to wait yet.
fn counted(options: &Options, random: &mut Random) -> bool {
    let stage = Stage::new();
    stage.make_users(&[("admin", (8, 1))]);
    let (_daemon, mut client) = stage.start(&[("THROTTLE__FAILURES", "100"), PROMPT]);
    let names = (WARM_UP + options.samples).div_ceil(ATTEMPTS);
    let authenticators = make_users(&mut client, names);
    let mut kinds = unknown_known_and_2fa();
    let _flood = stage.flood(options.flood);
    sample(&mut kinds, options, random, |prefix, round, random| {
        guess(
            &mut client,
            prefix,
            round / ATTEMPTS,
            &authenticators,
            random,
        )
    });
    report("Wrong passwords, counted", &kinds)
}

/// A wrong password, and a code that may be right: that is no help.
fn guess(
    client: &mut Client,
    prefix: &str,
    number: usize,
    authenticators: &[Authenticator],
    random: &mut Random,
) -> Answer {
    let code = if random.chance(50) {
        authenticators[number].now()
    } else {
        format!("{:06}", random.below(1_000_000))
    };
    let password = format!("{:016x}", random.next());
    client.log_in(&name(prefix, number), &password, &code)
}

/// Names that have failed so often that they are not even tried.
fn throttled(options: &Options, random: &mut Random) -> bool {
    let stage = Stage::new();
    // The cost does not matter where nothing is hashed, but for getting there.
    let (_daemon, mut client) = stage.start(&[
        ("PASSWORD__MEMORY_KIB", "8"),
        ("PASSWORD__ITERATIONS", "1"),
        ("THROTTLE__FAILURES", "100"),
        PROMPT,
    ]);
    client.create_user("admin");
    let authenticators = make_users(&mut client, 1);
    let mut kinds = unknown_known_and_2fa();
    // After so many a name is locked for an hour.
    for kind in &kinds {
        for _ in 0..ATTEMPTS {
            client.log_in(&name(kind.prefix, 0), "wrong", "000000");
        }
    }
    let _flood = stage.flood(options.flood);
    sample(&mut kinds, options, random, |prefix, _, random| {
        let answer = guess(&mut client, prefix, 0, &authenticators, random);
        assert!(answer.busy || answer.text.contains("Too many failed attempts"));
        answer
    });
    report("Throttled names", &kinds)
}

fn sample(
    kinds: &mut [Kind],
    options: &Options,
    random: &mut Random,
    mut ask: impl FnMut(&str, usize, &mut Random) -> Answer,
) {
    let mut order: Vec<_> = (0..kinds.len()).collect();
    let mut text = None;
    for round in 0..WARM_UP + options.samples {
        shuffle(&mut order, random);
        for &index in &order {
            let kind = &mut kinds[index];
            let answer = ask(kind.prefix, round, random);
            if answer.busy {
                kind.refused.push(answer.micros);
                continue;
            }
            let text = text.get_or_insert_with(|| answer.text.clone());
            assert_eq!(*text, answer.text, "the text tells: {}", kind.what);
            if round >= WARM_UP {
                kind.micros.push(answer.micros);
            }
        }
    }
}

fn shuffle(order: &mut [usize], random: &mut Random) {
    for end in (1..order.len()).rev() {
        order.swap(end, random.below(end + 1));
    }
}

fn limit(one: &Kind, other: &Kind) -> f64 {
    let of_other_cost = |kind: &Kind| kind.what.starts_with("record of");
    if of_other_cost(one) || of_other_cost(other) {
        LIMIT_OF_OTHER_COSTS
    } else {
        LIMIT
    }
}

/// Prints the tables; whether all of them is within the limit.
fn report(title: &str, kinds: &[Kind]) -> bool {
    let answered = times(title, kinds, |kind| &kind.micros);
    if kinds.iter().all(|kind| kind.refused.is_empty()) {
        return answered;
    }
    println!();
    for kind in kinds {
        let (refused, tried) = (kind.refused.len(), kind.micros.len());
        println!("{}: {refused} refused as too busy, {tried} not", kind.what);
    }
    let title = format!("{title}: refused as too busy");
    times(&title, kinds, |kind| &kind.refused) && answered
}

/// Prints a table of times; whether they are within the limit. Too few of them
/// tell nothing.
fn times(title: &str, kinds: &[Kind], of: impl Fn(&Kind) -> &[f64]) -> bool {
    println!("\n{title}\n\n| | median | AUC (95 % interval) |\n|---|---|---|");
    let kinds: Vec<_> = kinds
        .iter()
        .filter(|kind| of(kind).len() >= WARM_UP)
        .collect();
    for kind in &kinds {
        println!("| {} | {:.0} µs | |", kind.what, median(of(kind)));
    }
    let mut passed = true;
    for (index, one) in kinds.iter().enumerate() {
        for other in &kinds[index + 1..] {
            let auc = Auc::of(of(one), of(other));
            let limit = limit(one, other);
            passed &= !auc.exceeds(limit);
            let note = if auc.is_too_coarse(limit) {
                ", too few samples to judge"
            } else {
                ""
            };
            println!("| {} : {} | | {auc}{note} |", one.what, other.what);
        }
    }
    // What the measurement would not miss.
    if let Some(first) = kinds.first() {
        let slower: Vec<_> = of(first).iter().map(|micros| micros * 1.02).collect();
        let noticed = Auc::of(of(first), &slower);
        println!("| {} : the same, 2 % slower | | {noticed} |", first.what);
    }
    passed
}
