//! The faults, one file for each kind.

pub mod connections;
pub mod fuzz;
mod fuzzed;
pub mod idle;
pub mod kills;
pub mod proxied;
pub mod redis_kills;
pub mod refusals;
pub mod two_daemons;

use std::sync::Arc;
use std::time::Duration;

use crate::ledger::Ledger;
use crate::random::Random;
use crate::report::Report;

/// Parameters of one fault's run: random numbers, form (full or short) and ledger.
pub struct Context {
    pub random: Random,
    pub full: bool,
    pub ledger: Arc<Ledger>,
}

/// Summary of a fault's run for the table.
pub struct Summary {
    pub amount: String,
    pub notes: String,
}

/// A fault: its name on the command line, its title in the table and its function.
pub struct Fault {
    pub name: &'static str,
    pub title: &'static str,
    pub run: fn(&mut Context) -> Summary,
}

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "sigkill",
        title: "SIGKILL of the daemon at random instants (0–250 ms after its start)",
        run: kills::sigkill,
    },
    Fault {
        name: "crash-points",
        title: "abort at each named point",
        run: kills::crash_points,
    },
    Fault {
        name: "redis-durable",
        title: "SIGKILL of Redis (`appendfsync always`) under load",
        run: redis_kills::durable,
    },
    Fault {
        name: "both",
        title: "SIGKILL of the daemon, then of Redis (`appendfsync always`) while the next one recovers",
        run: redis_kills::both,
    },
    Fault {
        name: "redis-forgetful",
        title: "SIGKILL of Redis without persistence under load",
        run: redis_kills::forgetful,
    },
    Fault {
        name: "client-kill",
        title: "`CLIENT KILL` of the daemon's connections",
        run: connections::client_kill,
    },
    Fault {
        name: "client-unblock",
        title: "`CLIENT UNBLOCK` with and without an error",
        run: connections::client_unblock,
    },
    Fault {
        name: "client-pause",
        title: "`CLIENT PAUSE`",
        run: connections::client_pause,
    },
    Fault {
        name: "sigstop",
        title: "SIGSTOP of Redis for longer than every time-out",
        run: connections::sigstop,
    },
    Fault {
        name: "cut",
        title: "a connection cut with an answer or a command on its way",
        run: proxied::cut,
    },
    Fault {
        name: "silence-late",
        title: "a proxy that goes silent, then delivers late what it held",
        run: proxied::deliver_late,
    },
    Fault {
        name: "silence-lost",
        title: "a proxy that goes silent, then drops what it held and what follows",
        run: proxied::drop_held,
    },
    Fault {
        name: "idle",
        title: "idle longer than every time-out, then a push",
        run: idle::idle,
    },
    Fault {
        name: "fuzz",
        title: "fuzzed messages and three that abort the process, among good ones",
        run: fuzz::fuzz,
    },
    Fault {
        name: "refusals",
        title: "`OOM`, `READONLY`, `SCRIPT FLUSH`",
        run: refusals::refusals,
    },
    Fault {
        name: "flushall",
        title: "`FLUSHALL` under load",
        run: redis_kills::flushall,
    },
    Fault {
        name: "two-daemons",
        title: "two daemons with databases of their own on one queue",
        run: two_daemons::two_daemons,
    },
];

impl Fault {
    pub fn inflict(&self, seed: u64, full: bool) -> Report {
        let ledger = Arc::new(Ledger::default());
        let mut context = Context {
            random: Random::new(seed).part(self.name),
            full,
            ledger: Arc::clone(&ledger),
        };
        let summary =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (self.run)(&mut context)))
                .unwrap_or_else(|_| {
                    ledger.disagree("the torture program panicked: see above");
                    Summary {
                        amount: "aborted".into(),
                        notes: String::new(),
                    }
                });
        Report {
            fault: self.title,
            amount: summary.amount,
            requests: ledger.requests(),
            disagreements: ledger.disagreements(),
            notes: summary.notes,
        }
    }
}

impl Context {
    /// Returns the amount for the full form or for the short one.
    pub const fn amount(&self, full: usize, short: usize) -> usize {
        if self.full { full } else { short }
    }

    /// Maximum time between the end of a fault and the next reply. It is long in the short form,
    /// which shares the machine with other tests.
    pub const fn max_downtime(&self) -> Duration {
        Duration::from_secs(if self.full { 2 } else { 90 })
    }

    /// Returns a note on the longest downtime.
    pub fn downtime_note(&self) -> String {
        format!(
            "serving again after {} ms at most",
            self.ledger.longest_downtime().as_millis()
        )
    }
}
