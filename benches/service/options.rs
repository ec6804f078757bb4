//! Command line of the benchmark.

use std::path::PathBuf;
use std::time::Duration;

pub const USAGE: &str =
    "usage: [--only SECTION,…] [--rounds N] [--seconds N] [--platypush PYTHON] [--write FILE]
  sections: sessions, platypush, passwords, mutations, listing, large, hostile, idle, build";

/// All sections, in the order of the table.
const SECTIONS: [&str; 9] = [
    "sessions",
    "platypush",
    "passwords",
    "mutations",
    "listing",
    "large",
    "hostile",
    "idle",
    "build",
];

pub struct Options {
    pub sections: Vec<String>,
    /// Number of alternating measurements of a pair; the table shows the medians.
    pub rounds: usize,
    /// Duration of one measurement.
    pub time: Duration,
    /// Python interpreter of an environment with Platypush.
    pub platypush: Option<PathBuf>,
    /// File whose table this run replaces.
    pub write: Option<PathBuf>,
}

pub fn read(arguments: Vec<String>) -> Result<Options, String> {
    let mut options = Options {
        sections: SECTIONS.map(str::to_owned).into(),
        rounds: 5,
        time: Duration::from_secs(3),
        platypush: None,
        write: None,
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        // Added by `cargo bench`.
        if argument == "--bench" {
            continue;
        }
        let value = arguments
            .next()
            .ok_or_else(|| format!("{argument}: unknown, or without a value"))?;
        let number = || {
            value
                .parse::<u64>()
                .map_err(|error| format!("{argument}: {error}"))
        };
        match argument.as_str() {
            "--only" => options.sections = value.split(',').map(str::to_owned).collect(),
            "--rounds" => options.rounds = usize::try_from(number()?).map_err(|e| e.to_string())?,
            "--seconds" => options.time = Duration::from_secs(number()?),
            "--platypush" => options.platypush = Some(value.into()),
            "--write" => options.write = Some(value.into()),
            _ => return Err(format!("{argument}: unknown")),
        }
    }
    // A partial run must not replace the whole table.
    if options.sections.len() < SECTIONS.len() {
        options.write = None;
    }
    if options.rounds == 0 || options.time.is_zero() {
        return Err("--rounds and --seconds must not be 0".into());
    }
    if let Some(unknown) = options
        .sections
        .iter()
        .find(|s| !SECTIONS.contains(&s.as_str()))
    {
        return Err(format!("{unknown}: no such section"));
    }
    let is_installed = options
        .platypush
        .as_ref()
        .is_some_and(|python| python.exists());
    if !is_installed
        && options
            .sections
            .iter()
            .any(|section| section == "platypush")
    {
        eprintln!("Platypush is not installed: `make bench-platypush` installs it");
        options.sections.retain(|section| section != "platypush");
    }
    Ok(options)
}
