//! Faults in which Redis refuses writes or loses its scripts.

use redis::Connection;

use super::{Context, Summary};
use crate::stations;

pub fn refusals(context: &mut Context) -> Summary {
    let times = context.amount(200, 6);
    let hits = stations::run(context, (4, times), false, |station, _| {
        let (begin, end): (&[&str], &[&str]) = match station.random.below(3) {
            0 => (
                &["CONFIG", "SET", "maxmemory", "1"],
                &["CONFIG", "SET", "maxmemory", "0"],
            ),
            1 => (
                &["REPLICAOF", "127.0.0.1", "1"],
                &["REPLICAOF", "NO", "ONE"],
            ),
            _ => (&["SCRIPT", "FLUSH"], &["SCRIPT", "FLUSH"]),
        };
        run(&mut station.connection, begin);
        // The random duration is part of the fault.
        std::thread::sleep(station.random.millis(0, 1_500));
        run(&mut station.connection, end);
        true
    });
    Summary {
        amount: hits.to_string(),
        notes: format!("for up to 1.5 s; {}", context.downtime_note()),
    }
}

fn run(connection: &mut Connection, command: &[&str]) {
    redis::cmd(command[0])
        .arg(&command[1..])
        .exec(connection)
        .unwrap();
}
