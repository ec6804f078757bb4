//! Command line of the torture program. `cargo test` passes its options to every test binary; here
//! they are ignored, except for a name filter.

use crate::faults::FAULTS;

pub const USAGE: &str = "usage: torture [--full] [--seed NUMBER] [--only FAULT]…";

pub struct Options {
    pub full: bool,
    pub seed: u64,
    /// Names of the faults to run; empty for all.
    pub only: Vec<String>,
}

/// What a command line asks for.
pub enum Invocation {
    Run(Options),
    /// The filter selects other tests.
    Skip,
}

/// Parses the command line.
///
/// # Errors
/// Describes the first invalid option.
pub fn read(arguments: impl Iterator<Item = String>) -> Result<Invocation, String> {
    let mut options = Options {
        full: false,
        seed: std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
        only: Vec::new(),
    };
    let mut filters = Vec::new();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--full" => options.full = true,
            "--seed" => {
                options.seed = value()?
                    .parse()
                    .map_err(|_| "a seed is a number".to_owned())?;
            }
            "--only" => {
                let only = value()?;
                if !FAULTS.iter().any(|fault| fault.name == only) {
                    let names: Vec<_> = FAULTS.iter().map(|fault| fault.name).collect();
                    return Err(format!("no fault {only:?}; there are {}", names.join(", ")));
                }
                options.only.push(only);
            }
            "--list" | "--ignored" => return Ok(Invocation::Skip),
            "--test-threads" | "--skip" | "--format" | "--color" | "--logfile" => drop(value()?),
            "--exact" | "--nocapture" | "--no-capture" | "--quiet" | "-q" | "--show-output"
            | "--include-ignored" => {}
            libtest if libtest.starts_with("--") && libtest.contains('=') => {}
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            filter => filters.push(filter.to_owned()),
        }
    }
    let selected = filters.is_empty() || filters.iter().any(|filter| "torture".contains(filter));
    Ok(if selected {
        Invocation::Run(options)
    } else {
        Invocation::Skip
    })
}
