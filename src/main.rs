//! The `platypush-userd` command: parses the command line and runs it.

use std::process::ExitCode;

use clap::Parser as _;
use platypush_userd::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("platypush-userd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
