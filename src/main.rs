//! The `platypush-userd` command: parses the command line and runs it.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser as _;
use platypush_userd::cli::{Cli, complain};
use platypush_userd::failure::Remedy;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            complain(format_args!("platypush-userd: {error:#}"));
            ExitCode::from(Remedy::of(&error).exit_status())
        }
    }
}
