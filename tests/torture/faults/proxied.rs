//! The way to Redis falls silent.

use super::{Context, Told};
use crate::proxy::{Flow, Flows, PASS};
use crate::stations;

/// A silent direction, or both.
const SILENCES: &[(bool, bool)] = &[(true, false), (false, true), (true, true)];

pub fn silence(context: &mut Context) -> Told {
    let (times, stations) = (context.amount(200, 2), context.amount(40, 2));
    let hits = stations::run(context, (stations, times), true, |station, _| {
        let proxy = station.proxy.as_ref().unwrap();
        let (to_redis, to_daemon) = *station.random.pick(SILENCES);
        let flows = |silent: Flow| Flows {
            to_redis: if to_redis { silent } else { Flow::Pass },
            to_daemon: if to_daemon { silent } else { Flow::Pass },
        };
        // A lost path takes the connections that use it; a lost network takes
        // the next ones, too.
        let fresh = if station.random.chance(50) {
            PASS
        } else {
            flows(Flow::Hold)
        };
        proxy.set(flows(Flow::Hold), fresh);
        // The silence is the fault itself. The daemon gives up a connection
        // after 8 or 9 s; some silences end just before, some after.
        std::thread::sleep(station.random.millis(7_000, 11_000));
        let end = if station.random.chance(50) {
            Flow::Pass
        } else {
            Flow::Drop
        };
        proxy.set(flows(end), PASS);
        true
    });
    Told {
        amount: hits.to_string(),
        notes: format!(
            "one direction or both, present connections or all; {}",
            context.slowest()
        ),
    }
}
