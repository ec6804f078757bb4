//! Faults in which Redis closes, unblocks or delays the daemon's connections, or stops.

use std::time::Duration;

use redis::Connection;

use super::{Context, Summary};
use crate::stations::{self, Moment, Station};

/// A connection in `CLIENT LIST`.
pub struct Client {
    pub id: String,
    /// Whether the daemon opened it.
    pub daemon: bool,
    /// Whether it is in a blocking command on the queue.
    pub blocked: bool,
}

pub fn clients(connection: &mut Connection) -> Vec<Client> {
    let list: String = redis::cmd("CLIENT").arg("LIST").query(connection).unwrap();
    list.lines()
        .map(|line| {
            let field = |name: &str| {
                line.split(' ')
                    .find_map(|field| field.strip_prefix(name))
                    .unwrap_or_default()
            };
            Client {
                id: field("id=").into(),
                daemon: field("name=") != "torture",
                blocked: field("flags=").contains('b'),
            }
        })
        .collect()
}

impl Station {
    fn daemon_clients(&mut self) -> Vec<Client> {
        let mut all = clients(&mut self.connection);
        all.retain(|client| client.daemon);
        all
    }

    /// Returns the daemon's connection that is blocked on the queue, if any.
    pub fn blocked_client(&mut self, moment: Moment) -> Option<Client> {
        let tries = if moment == Moment::Waiting { 2_000 } else { 1 };
        (0..tries).find_map(|_| {
            let mut clients = self.daemon_clients();
            clients.retain(|client| client.blocked);
            if clients.is_empty() && tries > 1 {
                std::thread::sleep(Duration::from_millis(1));
            }
            clients.pop()
        })
    }
}

pub fn client_kill(context: &mut Context) -> Summary {
    let times = context.amount(200, 4);
    let hits = stations::run(context, (4, times), false, |station, moment| {
        if moment == Moment::Waiting {
            station.blocked_client(moment);
        }
        let clients = station.daemon_clients();
        if clients.is_empty() {
            return false;
        }
        // One of them, or all.
        let chosen = station.random.below(clients.len() * 2);
        let mut pipe = redis::pipe();
        for (n, client) in clients.iter().enumerate() {
            if chosen == n || chosen >= clients.len() {
                pipe.cmd("CLIENT").arg(&["KILL", "ID", &client.id]);
            }
        }
        let killed: Vec<i64> = pipe.query(&mut station.connection).unwrap();
        killed.iter().sum::<i64>() > 0
    });
    Summary {
        amount: hits.to_string(),
        notes: format!(
            "the fetching connection, the acknowledging one or both; {}",
            context.downtime_note()
        ),
    }
}

pub fn client_unblock(context: &mut Context) -> Summary {
    let times = context.amount(200, 4);
    let hits = stations::run(context, (4, times), false, |station, moment| {
        let Some(client) = station.blocked_client(moment) else {
            return false;
        };
        let how = *station.random.pick(&["TIMEOUT", "ERROR"]);
        let unblocked: i64 = redis::cmd("CLIENT")
            .arg(&["UNBLOCK", &client.id, how])
            .query(&mut station.connection)
            .unwrap();
        unblocked == 1
    });
    Summary {
        amount: hits.to_string(),
        notes: format!("half of them with an error; {}", context.downtime_note()),
    }
}

pub fn client_pause(context: &mut Context) -> Summary {
    let times = context.amount(200, 4);
    let hits = stations::run(context, (10, times), false, |station, _| {
        let millis = if station.random.chance(5) {
            station.random.between(9_500, 11_000)
        } else {
            station.random.between(1, 1_000)
        };
        let what = *station.random.pick(&["WRITE", "ALL"]);
        redis::cmd("CLIENT")
            .arg(&["PAUSE", &millis.to_string(), what])
            .exec(&mut station.connection)
            .unwrap();
        // Blocks until the pause ends, like every write.
        redis::cmd("DEL")
            .arg("nothing")
            .exec(&mut station.connection)
            .unwrap();
        true
    });
    Summary {
        amount: hits.to_string(),
        notes: format!(
            "of writes or of everything, up to 1 s, one in twenty 9.5 to 11 s; {}",
            context.downtime_note()
        ),
    }
}

pub fn sigstop(context: &mut Context) -> Summary {
    let (times, stations) = (context.amount(200, 2), context.amount(40, 2));
    let hits = stations::run(context, (stations, times), false, |station, moment| {
        if moment == Moment::Waiting {
            station.blocked_client(moment);
        }
        // The daemon's time-outs: 8 s for a command, 9 s for a blocking one.
        let time = station.random.millis(8_000, 11_500);
        station.server.freeze(time).join().unwrap();
        true
    });
    Summary {
        amount: hits.to_string(),
        notes: format!("8 to 11.5 s; {}", context.downtime_note()),
    }
}
