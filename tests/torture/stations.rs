//! Runs a fault on many pairs of a Redis server and a daemon in parallel, for faults that mostly
//! wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redis::Connection;

use crate::actor::Actor;
use crate::faults::Context;
use crate::proxy::Proxy;
use crate::random::Random;
use crate::server::{Persistence, Server};
use crate::setup::Setup;

/// Point of the request cycle at which a fault is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// While the daemon waits on an empty queue. The requests follow immediately.
    Waiting,
    /// Right after requests were pushed.
    Pushed,
    /// Once the first of the replies has arrived.
    Replying,
}

const MOMENTS: &[Moment] = &[Moment::Waiting, Moment::Pushed, Moment::Replying];

/// One Redis, one daemon and one actor. A proxy connects daemon and Redis if the fault needs it.
pub struct Station {
    pub server: Server,
    pub setup: Setup,
    pub proxy: Option<Proxy>,
    /// A connection for `CLIENT` and `CONFIG` commands.
    pub connection: Connection,
    pub random: Random,
    /// Maximum time between a fault and the last reply.
    pub max_downtime: Duration,
    actor: Actor,
}

/// Injects a fault `times` times, spread over `stations` parallel stations. `fault` returns whether
/// it took effect; otherwise it is repeated and not counted.
pub fn run(
    context: &Context,
    (stations, times): (usize, usize),
    proxied: bool,
    fault: impl Fn(&mut Station, Moment) -> bool + Sync,
) -> usize {
    let hits = AtomicUsize::new(0);
    let started = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..stations.min(times) {
            let (fault, hits, started) = (&fault, &hits, &started);
            scope.spawn(move || {
                let server = Server::start(Persistence::Off);
                let socket = server.socket();
                let proxy = proxied.then(|| Proxy::start(&socket));
                let daemon_socket = proxy.as_ref().map_or(socket.clone(), Proxy::socket);
                let (setup, process) =
                    Setup::start(&socket, &daemon_socket, &format!("q{n}"), &context.ledger);
                let random = context.random.part(&format!("station {n}"));
                let actor = setup.actors(1, &random).remove(0);
                let mut station = Station {
                    server,
                    connection: setup.connect(),
                    setup,
                    proxy,
                    random,
                    max_downtime: context.max_downtime(),
                    actor,
                };
                while started.fetch_add(1, Ordering::SeqCst) < times {
                    let mut tries = 0;
                    while !station.inject(fault) {
                        tries += 1;
                        assert!(tries < 1_000, "the fault never took effect");
                    }
                    hits.fetch_add(1, Ordering::SeqCst);
                }
                station.setup.finish(process, vec![station.actor]);
            });
        }
    });
    hits.into_inner()
}

impl Station {
    /// Injects one fault among requests. Returns whether it took effect.
    fn inject(&mut self, fault: impl Fn(&mut Self, Moment) -> bool) -> bool {
        let moment = *self.random.pick(MOMENTS);
        let size = self.random.between(1, 24);
        self.actor.prepare(size);
        let mut connection = self.actor.connect().unwrap();
        if moment != Moment::Waiting {
            self.actor.push(&mut connection, &[]).unwrap();
        }
        if moment == Moment::Replying {
            self.actor.wait_for_first(&mut connection).unwrap();
        }
        let max_downtime = self.max_downtime;
        let hit = fault(self, moment);
        if moment == Moment::Waiting {
            self.actor.push(&mut connection, &[]).unwrap();
        }
        let injected_at = Instant::now();
        self.actor.collect(&mut connection).unwrap();
        self.setup
            .ledger
            .record_downtime(injected_at, self.max_downtime);
        self.max_downtime = max_downtime;
        hit
    }
}
