//! The way to Redis falls silent, or is cut.

use std::time::Duration;

use super::{Context, Told};
use crate::proxy::{Flow, Flows, PASS};
use crate::stations::{self, Moment};

/// A silent direction, or both.
const SILENCES: &[(bool, bool)] = &[(true, false), (false, true), (true, true)];

/// The daemon's longest time-out.
const TIMEOUT: Duration = Duration::from_secs(9);

/// What was held is delivered late: to a Redis that may have new connections
/// of the same daemon by then, or to a daemon that had given up waiting.
pub fn delivers(context: &mut Context) -> Told {
    silence(context, Flow::Pass)
}

/// What was held is lost, and the connection stays dead without an end: the
/// daemon has to find out by its time-out.
pub fn drops(context: &mut Context) -> Told {
    silence(context, Flow::Drop)
}

fn silence(context: &mut Context, end: Flow) -> Told {
    let (times, stations) = (context.amount(200, 2), context.amount(40, 2));
    let hits = stations::run(context, (stations, times), true, |station, _| {
        let proxy = station.proxy.as_ref().unwrap();
        let (to_redis, to_daemon) = *station.random.pick(SILENCES);
        let loses_end = station.random.chance(50);
        let flows = |silent: Flow| Flows {
            loses_end,
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
        // The silence is the fault itself: some end just before the daemon
        // gives its connections up, some after.
        std::thread::sleep(station.random.millis(7_000, 11_000));
        proxy.set(flows(end), PASS);
        if end == Flow::Drop {
            station.promptness += TIMEOUT;
        }
        true
    });
    Told {
        amount: hits.to_string(),
        notes: format!(
            "7 to 11 s, one direction or both, present connections or all; {}",
            context.slowest()
        ),
    }
}

/// A connection ends when Redis has done what it was asked for and its answer
/// is on its way, or when a command is.
pub fn cut(context: &mut Context) -> Told {
    let times = context.amount(1_000, 20);
    let hits = stations::run(context, (4, times), true, |station, moment| {
        let answer = station.random.chance(75);
        let cut = |direction: bool| if direction { Flow::Cut } else { Flow::Pass };
        let flows = Flows {
            to_redis: cut(!answer),
            to_daemon: cut(answer),
            loses_end: false,
        };
        if moment == Moment::Waiting {
            // The next answer is that of the take which the requests end.
            station.waiting(moment);
        }
        let proxy = station.proxy.as_ref().unwrap();
        proxy.set(flows, PASS);
        true
    });
    Told {
        amount: hits.to_string(),
        notes: format!(
            "three in four with the answer on its way; {}",
            context.slowest()
        ),
    }
}
