//! The torture program: real daemons, real Redis servers, every fault that
//! either can have, and a model beside them that knows what every reply must
//! be. It counts each disagreement.
//!
//! `cargo test` runs the short form, all faults at once in small amounts;
//! `make torture` the full one, a fault at a time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a torture that cannot go on fails, and says where"
)]

mod actor;
mod daemon;
mod faults;
mod ledger;
mod message;
mod model;
mod options;
mod proxy;
mod random;
#[path = "../common/redis_process.rs"]
mod redis_process;
mod report;
mod server;
mod setup;
mod stations;

use std::process::ExitCode;

use self::faults::{FAULTS, Fault};
use self::options::{Options, Wish};
use self::report::Report;

fn main() -> ExitCode {
    let options = match options::read(std::env::args().skip(1)) {
        Ok(Wish::Run(options)) => options,
        Ok(Wish::Nothing) => return ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("torture: {wrong}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let faults: Vec<_> = FAULTS
        .iter()
        .filter(|fault| options.only.is_empty() || options.only.iter().any(|o| o == fault.name))
        .collect();
    eprintln!("torture: --seed {}", options.seed);
    let reports = if options.full {
        one_by_one(&faults, &options)
    } else {
        all_at_once(&faults, &options)
    };
    println!("\nseed {}\n\n{}", options.seed, report::table(&reports));
    let disagreements: u64 = reports.iter().map(|report| report.disagreements).sum();
    if disagreements > 0 {
        println!("{disagreements} disagreements");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn one_by_one(faults: &[&Fault], options: &Options) -> Vec<Report> {
    faults.iter().map(|fault| inflict(fault, options)).collect()
}

fn all_at_once(faults: &[&Fault], options: &Options) -> Vec<Report> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = faults
            .iter()
            .map(|fault| scope.spawn(|| inflict(fault, options)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

fn inflict(fault: &Fault, options: &Options) -> Report {
    let start = std::time::Instant::now();
    let report = fault.inflict(options.seed, options.full);
    eprintln!(
        "torture: {}: {}, {} requests, {} disagreements, {} s",
        fault.name,
        report.amount,
        report.requests,
        report.disagreements,
        start.elapsed().as_secs()
    );
    report
}
