//! Command line of the measurement.

pub const USAGE: &str =
    "usage: enumeration [--samples NUMBER] [--seed NUMBER] [--flood one|distinct]";

/// Names in the flood of logins during the measurement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// One name.
    One,
    /// Another name in each login.
    Distinct,
}

pub struct Options {
    /// Number of samples of each kind of names.
    pub samples: usize,
    pub seed: u64,
    pub flood: Option<Flood>,
}

/// Parses the command line.
///
/// # Errors
/// Describes the first invalid option.
pub fn read(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        samples: 2_000,
        seed: std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
        flood: None,
    };
    while let Some(argument) = arguments.next() {
        if argument == "--flood" {
            options.flood = Some(match arguments.next().as_deref() {
                Some("one") => Flood::One,
                Some("distinct") => Flood::Distinct,
                _ => return Err("--flood needs `one` or `distinct`".into()),
            });
            continue;
        }
        let mut number = || {
            arguments
                .next()
                .and_then(|value| value.parse().ok())
                .ok_or_else(|| format!("{argument} needs a number"))
        };
        match argument.as_str() {
            "--samples" => options.samples = usize::try_from(number()?).unwrap_or(usize::MAX),
            "--seed" => options.seed = number()?,
            other => return Err(format!("unknown option {other}")),
        }
    }
    if options.samples == 0 {
        return Err("at least one sample is needed".into());
    }
    Ok(options)
}
