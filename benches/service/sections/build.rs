//! Size of the binary and time of a cold build.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::table::{Goal, Row, Table};

pub fn run(folder: &Path, table: &mut Table) {
    let target = folder.join("target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let begin = Instant::now();
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", &target)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(built.success(), "the build failed");
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    let binary = target.join("release/platypush-userd");
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    let mib = binary.metadata().unwrap().len() as f64 / f64::from(1 << 20);
    std::fs::remove_dir_all(&target).unwrap();
    let cores = std::thread::available_parallelism().unwrap();
    table.push(
        Row::new("binary", format!("{mib:.1} MiB"), String::new())
            .goals("< 15 MiB", &[(mib, Goal::AtMost(14.99))]),
    );
    table.push(
        Row::new(
            &format!("cold release build, {cores} cores"),
            format!("{minutes:.1} minutes"),
            String::new(),
        )
        .goals("< 4 minutes", &[(minutes, Goal::AtMost(3.99))]),
    );
}
