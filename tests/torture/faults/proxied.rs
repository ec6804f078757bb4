//! Faults of the connection to Redis: it goes silent, or is cut.

use std::time::Duration;

use super::{Context, Summary};
use crate::proxy::{Flow, Flows, PASS};
use crate::stations::{self, Moment};

/// Silent directions: to Redis, to the daemon, or both.
const SILENCES: &[(bool, bool)] = &[(true, false), (false, true), (true, true)];

/// The longest time-out of the daemon.
const TIMEOUT: Duration = Duration::from_secs(9);

/// Delivers held bytes late: to a Redis that the daemon may have reconnected to, or to a daemon
/// whose time-out has expired.
pub fn deliver_late(context: &mut Context) -> Summary {
    silence(context, Flow::Pass)
}

/// Drops held bytes and keeps the connection open without traffic, which the daemon can only detect
/// by its time-out.
pub fn drop_held(context: &mut Context) -> Summary {
    silence(context, Flow::Drop)
}

fn silence(context: &mut Context, end: Flow) -> Summary {
    let (times, stations) = (context.amount(200, 2), context.amount(40, 2));
    let hits = stations::run(context, (stations, times), true, |station, _| {
        let proxy = station.proxy.as_ref().unwrap();
        let (to_redis, to_daemon) = *station.random.pick(SILENCES);
        let hides_close = station.random.chance(50);
        let flows = |silent: Flow| Flows {
            hides_close,
            to_redis: if to_redis { silent } else { Flow::Pass },
            to_daemon: if to_daemon { silent } else { Flow::Pass },
        };
        // A lost path affects open connections only; a lost network affects new ones as well.
        let new = if station.random.chance(50) {
            PASS
        } else {
            flows(Flow::Hold)
        };
        proxy.set(flows(Flow::Hold), new);
        // Some silences end just before the daemon's time-out, some after it.
        std::thread::sleep(station.random.millis(7_000, 11_000));
        proxy.set(flows(end), PASS);
        if end == Flow::Drop {
            station.max_downtime += TIMEOUT;
        }
        true
    });
    Summary {
        amount: hits.to_string(),
        notes: format!(
            "7 to 11 s, one direction or both, present connections or all; {}",
            context.downtime_note()
        ),
    }
}

/// Cuts a connection after Redis has run a command and before its answer arrives, or before the
/// command arrives.
pub fn cut(context: &mut Context) -> Summary {
    let times = context.amount(1_000, 20);
    let hits = stations::run(context, (4, times), true, |station, moment| {
        let answer = station.random.chance(75);
        let cut = |direction: bool| if direction { Flow::Cut } else { Flow::Pass };
        let flows = Flows {
            to_redis: cut(!answer),
            to_daemon: cut(answer),
            hides_close: false,
        };
        if moment == Moment::Waiting {
            // The next answer is that of the fetch which the requests unblock.
            station.blocked_client(moment);
        }
        let proxy = station.proxy.as_ref().unwrap();
        proxy.set(flows, PASS);
        true
    });
    Summary {
        amount: hits.to_string(),
        notes: format!(
            "three in four with the answer on its way; {}",
            context.downtime_note()
        ),
    }
}
