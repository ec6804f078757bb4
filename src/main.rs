//! The `platypush-userd` command: parses the command line and runs it.

use std::process::ExitCode;

use clap::Parser as _;
use platypush_userd::cli::Cli;
use platypush_userd::config::Problems;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("platypush-userd: {error:#}");
            exit_code(&error)
        }
    }
}

/// A configuration that cannot be used has an exit status of its own
/// (sysexits' `EX_CONFIG`): starting again does not help, and the systemd unit
/// does not try.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    const EX_CONFIG: u8 = 78;
    if error.is::<Problems>() {
        ExitCode::from(EX_CONFIG)
    } else {
        ExitCode::FAILURE
    }
}
