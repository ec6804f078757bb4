//! The command line.

pub const USAGE: &str =
    "usage: enumeration [--samples NUMBER] [--seed NUMBER] [--flood one|distinct]";

/// Logins that are pushed while the attacker measures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// For one name.
    One,
    /// For names that differ.
    Distinct,
}

pub struct Options {
    /// Of each kind of name.
    pub samples: usize,
    pub seed: u64,
    pub flood: Option<Flood>,
}

/// Reads the command line.
///
/// # Errors
/// With what cannot be understood.
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
