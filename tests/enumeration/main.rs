//! Measures user enumeration by response time: how well an attacker could distinguish two kinds of
//! user names by the time of the reply, as the area under the ROC curve (AUC) of a threshold. 0.5
//! is guessing, 1 is certainty.
//!
//! Each round sends one login for every kind, in random order, one request at a time over one
//! connection. So other load on the machine affects all kinds alike. With `--flood`, another
//! client floods the daemon with logins during the measurement; then the output also shows how
//! often and how fast each kind is refused as too busy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot continue panics and names the line"
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

/// Maximum AUC.
const LIMIT: f64 = 0.55;
/// Maximum AUC for records with a lower cost than the current one. A check that costs nearly as
/// much sometimes takes longer than the check it is equalized to (`credentials/equalizer.rs`).
const LIMIT_OF_OTHER_COSTS: f64 = 0.7;
/// Samples of each kind that are discarded, while caches fill and memory is touched first.
const WARM_UP: usize = 20;

/// In a flood for distinct names, an accepted login waits for up to `max_login_wait`. A shorter
/// wait than the default gives more samples.
const SHORT_LOGIN_WAIT: (&str, &str) = ("MAX_LOGIN_WAIT", "1");

/// Failed logins after which the throttle locks a name for an hour.
const ATTEMPTS: usize = 100;

/// A kind of user names, and the measured times of its logins.
struct Kind {
    label: &'static str,
    /// Prefix of the names. All prefixes have the same length, so that each name takes the same
    /// time to decode.
    prefix: &'static str,
    micros: Vec<f64>,
    /// Times of the replies that were refusals as too busy.
    refused: Vec<f64>,
}

impl Kind {
    const fn new(label: &'static str, prefix: &'static str) -> Self {
        Self {
            label,
            prefix,
            micros: Vec::new(),
            refused: Vec::new(),
        }
    }
}

fn name(prefix: &str, number: usize) -> String {
    format!("{prefix}{number:03}")
}

/// Returns the kinds that every measurement has.
const fn basic_kinds() -> [Kind; 3] {
    [
        Kind::new("unknown", "nobdy"),
        Kind::new("known", "known"),
        Kind::new("with 2FA", "codes"),
    ]
}

/// Creates `count` users of each of the existing kinds, with and without a second factor.
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
        Err(error) => {
            eprintln!("enumeration: {error}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let load = match options.flood {
        None => "",
        Some(Flood::One) => ", during a flood for one name",
        Some(Flood::Distinct) => ", during a flood for distinct names",
    };
    let Options { seed, samples, .. } = options;
    println!("seed {seed}, {samples} samples each{load}");
    let mut random = Random::new(options.seed);
    let passed = [
        wrong_passwords(&options, &mut random),
        counted_failures(&options, &mut random),
        throttled_names(&options, &mut random),
    ];
    if passed.iter().all(|passed| *passed) {
        ExitCode::SUCCESS
    } else {
        println!(
            "\nAUC above {LIMIT} ({LIMIT_OF_OTHER_COSTS} for records of other costs): \
             response times reveal which names exist"
        );
        ExitCode::FAILURE
    }
}

/// Measures wrong passwords at the default cost, and against records of other costs.
fn wrong_passwords(options: &Options, random: &mut Random) -> bool {
    let stage = Stage::new();
    stage.make_users(&[
        ("admin", (8, 1)),
        ("least000", (8, 1)),
        ("older000", (12_288, 3)),
    ]);
    stage.import_user("pbkdf000");
    let (_daemon, mut client) = stage.start(&[("THROTTLE__FAILURES", "0"), SHORT_LOGIN_WAIT]);
    let authenticators = make_users(&mut client, 1);
    let mut kinds = Vec::from(basic_kinds());
    kinds.push(Kind::new("record of 12 MiB, t=3", "older"));
    kinds.push(Kind::new("record of 8 KiB, t=1", "least"));
    kinds.push(Kind::new("record of a node, PBKDF2", "pbkdf"));
    let _flood = stage.flood(options.flood);
    sample(&mut kinds, options, random, |prefix, _, random| {
        guess(&mut client, prefix, 0, &authenticators, random)
    });
    report("Wrong passwords, throttle off", &kinds)
}

/// Measures wrong passwords while failures are counted, below the limit of the throttle.
fn counted_failures(options: &Options, random: &mut Random) -> bool {
    let stage = Stage::new();
    stage.make_users(&[("admin", (8, 1))]);
    let (_daemon, mut client) = stage.start(&[("THROTTLE__FAILURES", "100"), SHORT_LOGIN_WAIT]);
    let names = (WARM_UP + options.samples).div_ceil(ATTEMPTS);
    let authenticators = make_users(&mut client, names);
    let mut kinds = basic_kinds();
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

/// Sends a login with a wrong password. Half of the codes are valid, which must make no difference.
fn guess(
    client: &mut Client,
    prefix: &str,
    number: usize,
    authenticators: &[Authenticator],
    random: &mut Random,
) -> Answer {
    let code = if random.chance(50) {
        authenticators[number].current_code()
    } else {
        format!("{:06}", random.below(1_000_000))
    };
    let password = format!("{:016x}", random.next());
    client.log_in(&name(prefix, number), &password, &code)
}

/// Measures names that the throttle has locked.
fn throttled_names(options: &Options, random: &mut Random) -> bool {
    let stage = Stage::new();
    // A low cost makes the failures that lock the names fast; a locked name costs no hash.
    let (_daemon, mut client) = stage.start(&[
        ("PASSWORD__MEMORY_KIB", "8"),
        ("PASSWORD__ITERATIONS", "1"),
        ("THROTTLE__FAILURES", "100"),
        SHORT_LOGIN_WAIT,
    ]);
    client.create_user("admin");
    let authenticators = make_users(&mut client, 1);
    let mut kinds = basic_kinds();
    // Locks each name for an hour.
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
            assert_eq!(*text, answer.text, "the reply text differs: {}", kind.label);
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
    let of_other_cost = |kind: &Kind| kind.label.starts_with("record of");
    if of_other_cost(one) || of_other_cost(other) {
        LIMIT_OF_OTHER_COSTS
    } else {
        LIMIT
    }
}

/// Prints the tables. Returns whether all values are within the limits.
fn report(title: &str, kinds: &[Kind]) -> bool {
    let answered = times(title, kinds, |kind| &kind.micros);
    if kinds.iter().all(|kind| kind.refused.is_empty()) {
        return answered;
    }
    println!();
    for kind in kinds {
        let (refused, tried) = (kind.refused.len(), kind.micros.len());
        println!("{}: {refused} refused as too busy, {tried} not", kind.label);
    }
    let title = format!("{title}: refused as too busy");
    times(&title, kinds, |kind| &kind.refused) && answered
}

/// Prints a table of times. Returns whether all AUC values are within the limits. Skips kinds with
/// fewer than [`WARM_UP`] samples.
fn times(title: &str, kinds: &[Kind], of: impl Fn(&Kind) -> &[f64]) -> bool {
    println!("\n{title}\n\n| | median | AUC (95 % interval) |\n|---|---|---|");
    let kinds: Vec<_> = kinds
        .iter()
        .filter(|kind| of(kind).len() >= WARM_UP)
        .collect();
    for kind in &kinds {
        println!("| {} | {:.0} µs | |", kind.label, median(of(kind)));
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
            println!("| {} : {} | | {auc}{note} |", one.label, other.label);
        }
    }
    // The sensitivity of the measurement: the AUC of a difference of 2 %.
    if let Some(first) = kinds.first() {
        let slower: Vec<_> = of(first).iter().map(|micros| micros * 1.02).collect();
        let noticed = Auc::of(of(first), &slower);
        println!("| {} : the same, 2 % slower | | {noticed} |", first.label);
    }
    passed
}
