//! Torture program: injects faults into real daemons and real Redis servers, compares every reply
//! with a model, and counts the disagreements.
//!
//! `cargo test` runs the short form: all faults in parallel, a few of each. `make torture` runs the
//! full form, one fault after the other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test program that cannot continue panics and names the line"
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
use self::options::{Invocation, Options};
use self::report::Report;

fn main() -> ExitCode {
    let options = match options::read(std::env::args().skip(1)) {
        Ok(Invocation::Run(options)) => options,
        Ok(Invocation::Skip) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("torture: {error}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let faults: Vec<_> = FAULTS
        .iter()
        .filter(|fault| options.only.is_empty() || options.only.iter().any(|o| o == fault.name))
        .collect();
    eprintln!("torture: --seed {}", options.seed);
    let reports = if options.full {
        run_in_sequence(&faults, &options)
    } else {
        run_in_parallel(&faults, &options)
    };
    println!("\nseed {}\n\n{}", options.seed, report::table(&reports));
    let disagreements: u64 = reports.iter().map(|report| report.disagreements).sum();
    if disagreements > 0 {
        println!("{disagreements} disagreements");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run_in_sequence(faults: &[&Fault], options: &Options) -> Vec<Report> {
    faults.iter().map(|fault| inflict(fault, options)).collect()
}

fn run_in_parallel(faults: &[&Fault], options: &Options) -> Vec<Report> {
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
