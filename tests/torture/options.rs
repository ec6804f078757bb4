//! The command line. `cargo test` hands its own options on to every test
//! binary; those mean nothing here, a filter excepted.

use crate::faults::FAULTS;

pub const USAGE: &str = "usage: torture [--full] [--seed NUMBER] [--only FAULT]…";

pub struct Options {
    pub full: bool,
    pub seed: u64,
    /// Names of faults; all when empty.
    pub only: Vec<String>,
}

/// What is wanted.
pub enum Wish {
    Run(Options),
    /// The tests that are asked for are others.
    Nothing,
}

/// Reads the command line.
///
/// # Errors
/// With what cannot be understood.
pub fn read(arguments: impl Iterator<Item = String>) -> Result<Wish, String> {
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
            "--list" | "--ignored" => return Ok(Wish::Nothing),
            "--test-threads" | "--skip" | "--format" | "--color" | "--logfile" => drop(value()?),
            "--exact" | "--nocapture" | "--no-capture" | "--quiet" | "-q" | "--show-output"
            | "--include-ignored" => {}
            libtest if libtest.starts_with("--") && libtest.contains('=') => {}
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            filter => filters.push(filter.to_owned()),
        }
    }
    let wanted = filters.is_empty() || filters.iter().any(|filter| "torture".contains(filter));
    Ok(if wanted {
        Wish::Run(options)
    } else {
        Wish::Nothing
    })
}
