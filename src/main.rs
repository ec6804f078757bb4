//! The `platypush-userd` command: parses the command line and runs it.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser as _;
use platypush_userd::cli::{Cli, complain};
use platypush_userd::daemon::remedies::remedy;
use platypush_userd::text::printable;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => match error.downcast::<clap::Error>() {
            // Printed as the parser prints its own errors, with the usage.
            Ok(mistake) => mistake.exit(),
            Err(error) => {
                // The error may quote a foreign database or file.
                let text = format!("{error:#}");
                let lines: Vec<_> = text.split('\n').map(printable).collect();
                complain(format_args!("platypush-userd: {}", lines.join("\n")));
                ExitCode::from(remedy(&error).exit_status())
            }
        },
    }
}
