//! Many Redis servers and daemons at once, for faults that mostly wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redis::Connection;

use crate::actor::Actor;
use crate::faults::Context;
use crate::proxy::Proxy;
use crate::random::Random;
use crate::server::{Persistence, Server};
use crate::setup::Setup;

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// While the daemon waits on an empty queue; requests follow at once.
    Waiting,
    /// Right after requests were pushed.
    Pushed,
    /// When the first of many replies is there.
    Replying,
}

const MOMENTS: &[Moment] = &[Moment::Waiting, Moment::Pushed, Moment::Replying];

/// One Redis, one daemon, perhaps with a proxy between them, and one actor.
pub struct Station {
    pub server: Server,
    pub setup: Setup,
    pub proxy: Option<Proxy>,
    /// Not the daemon's.
    pub connection: Connection,
    pub random: Random,
    /// How soon all replies must be there after a fault.
    pub promptness: Duration,
    actor: Actor,
}

/// Has `strike` inflict a fault `times` times over, by so many stations at
/// once. It says whether the fault hit; what missed is not counted.
pub fn run(
    context: &Context,
    (stations, times): (usize, usize),
    proxied: bool,
    strike: impl Fn(&mut Station, Moment) -> bool + Sync,
) -> usize {
    let hits = AtomicUsize::new(0);
    let begun = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..stations.min(times) {
            let (strike, hits, begun) = (&strike, &hits, &begun);
            scope.spawn(move || {
                let server = Server::start(Persistence::Nothing);
                let socket = server.socket();
                let proxy = proxied.then(|| Proxy::start(&socket));
                let way = proxy.as_ref().map_or(socket.clone(), Proxy::socket);
                let (setup, process) =
                    Setup::start(&socket, &way, &format!("q{n}"), &context.ledger);
                let random = context.random.part(&format!("station {n}"));
                let actor = setup.actors(1, &random).remove(0);
                let mut station = Station {
                    server,
                    connection: setup.connect(),
                    setup,
                    proxy,
                    random,
                    promptness: context.promptness(),
                    actor,
                };
                while begun.fetch_add(1, Ordering::SeqCst) < times {
                    let mut tries = 0;
                    while !station.strike(strike) {
                        tries += 1;
                        assert!(tries < 1_000, "the fault never hits");
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
    /// One fault, with requests around it; whether it hit.
    fn strike(&mut self, fault: impl Fn(&mut Self, Moment) -> bool) -> bool {
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
        let promptness = self.promptness;
        let hit = fault(self, moment);
        if moment == Moment::Waiting {
            self.actor.push(&mut connection, &[]).unwrap();
        }
        let since = Instant::now();
        self.actor.collect(&mut connection).unwrap();
        self.setup.ledger.served_again(since, self.promptness);
        self.promptness = promptness;
        hit
    }
}
