//! The `platypush-userd` command: parses the command line and runs it.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser as _;
use platypush_userd::cli::{Cli, complain};
use platypush_userd::config::Problems;
use platypush_userd::control::ControlError;
use platypush_userd::keyring::KeyringError;
use platypush_userd::queue::ConnectorError;
use platypush_userd::store::sled::OpenError;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            complain(format_args!("platypush-userd: {error:#}"));
            exit_code(&error)
        }
    }
}

/// What a person must mend has an exit status of its own (sysexits'
/// `EX_CONFIG`): starting again does not help, and the systemd unit does not
/// try.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    const EX_CONFIG: u8 = 78;
    let for_a_person = error.is::<Problems>()
        || error.is::<ConnectorError>()
        || matches!(error.downcast_ref(), Some(ControlError::PathTooLong { .. }))
        || error
            .downcast_ref::<OpenError>()
            .is_some_and(|error| !matches!(error, OpenError::Io(_)))
        || error
            .downcast_ref::<KeyringError>()
            .is_some_and(|error| !matches!(error, KeyringError::Io { .. }));
    if for_a_person {
        ExitCode::from(EX_CONFIG)
    } else {
        ExitCode::FAILURE
    }
}
