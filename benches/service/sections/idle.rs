//! Processor time and memory of an idle daemon.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Options;
use crate::sections::passwords::paced_look_ups;
use crate::stage::{Process, Redis};
use crate::table::{Goal, Row, Table};

const DURATION: Duration = Duration::from_secs(20);

pub fn run(options: &Options, workdir: &Path, table: &mut Table) {
    let redis = Redis::start();
    let daemon = Process::daemon(&redis, workdir, &[]);
    // Some look-ups first, so that caches and buffers have their usual size.
    paced_look_ups(options, &redis);
    let (cpu, begin) = (daemon.cpu_micros(), Instant::now());
    std::thread::sleep(DURATION);
    let cpu = (daemon.cpu_micros() - cpu) / 1e4 / begin.elapsed().as_secs_f64();
    let mib = kib_to_mib(daemon.memory_kib().0);
    daemon.stop();
    table.push(
        Row::new(
            "idle",
            format!("{cpu:.2} % of a core, {mib:.0} MiB"),
            String::new(),
        )
        .goals(
            "< 0.5 %, < 30 MiB",
            &[(cpu, Goal::AtMost(0.499)), (mib, Goal::AtMost(29.9))],
        ),
    );
}

#[expect(clippy::cast_precision_loss, reason = "some millions")]
pub fn kib_to_mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
