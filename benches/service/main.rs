//! Measures the daemon against the limits of Redis, the disk and Argon2, in the same run
//! (`make bench`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot continue panics and names the line"
)]

mod limits;
mod load;
mod null_worker;
mod options;
mod population;
#[path = "../../tests/common/redis_process.rs"]
mod redis_process;
mod resp;
mod sections;
mod stage;
#[path = "../../tests/common/store_changes.rs"]
mod store_changes;
mod table;

use std::process::ExitCode;

use options::Options;
use table::Table;

/// The queue of the daemon and of the null worker.
const QUEUE: &str = "platypush/user";
/// `target` of the requests.
const TARGET: &str = "bench";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, port] = arguments.as_slice()
        && command == "null-worker"
    {
        // Ends with an error when its Redis ends.
        let _ = null_worker::run(port.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let options = match options::read(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("bench: {error}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let table = measure(&options);
    if let Some(file) = &options.write {
        table.write_into(file).unwrap();
    }
    ExitCode::SUCCESS
}

fn measure(options: &Options) -> Table {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    population::populate(&small, sections::sessions::SMALL);
    let mut table = Table::default();
    for section in &options.sections {
        let (folder, table) = (folder.path(), &mut table);
        match section.as_str() {
            "sessions" => sections::sessions::run(options, &small, table),
            "platypush" => sections::platypush::run(options, &small, folder, table),
            "passwords" => sections::passwords::run(options, &small, table),
            "mutations" => sections::mutations::run(options, folder, table),
            "listing" => sections::listing::run(options, folder, table),
            "large" => sections::large::run(options, folder, &small, table),
            "hostile" => sections::hostile::run(options, &small, table),
            "idle" => sections::idle::run(options, &small, table),
            _ => sections::build::run(folder, table),
        }
    }
    table
}
