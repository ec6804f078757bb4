//! Proxy between a daemon and its Redis that can hold, drop or cut the traffic while it keeps the
//! connections open.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

/// What the proxy does with the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Pass,
    /// Keeps the bytes until the flow changes.
    Hold,
    /// Discards the bytes and all later ones of the same connection: a stream with a gap would no
    /// longer be valid RESP.
    Drop,
    /// Discards the next bytes and closes the connection.
    Cut,
}

/// The flows of both directions.
#[derive(Clone, Copy, Debug)]
pub struct Flows {
    pub to_redis: Flow,
    pub to_daemon: Flow,
    /// Whether one end does not see that the other end has closed the connection.
    pub hides_close: bool,
}

pub const PASS: Flows = Flows {
    to_redis: Flow::Pass,
    to_daemon: Flow::Pass,
    hides_close: false,
};

pub struct Proxy {
    folder: TempDir,
    gates: Arc<Gates>,
}

#[derive(Default)]
struct Gates {
    all: Mutex<Vec<Arc<Gate>>>,
    /// The flows of new connections.
    new: Mutex<Option<Flows>>,
}

/// The flows of one connection.
struct Gate {
    flows: Mutex<Flows>,
    changed: Condvar,
}

#[derive(Clone, Copy)]
enum Direction {
    ToRedis,
    ToDaemon,
}

impl Proxy {
    pub fn start(redis: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("proxy.sock")).unwrap();
        let proxy = Self {
            folder,
            gates: Arc::default(),
        };
        let (gates, redis) = (Arc::clone(&proxy.gates), redis.to_owned());
        std::thread::spawn(move || {
            for daemon in listener.incoming().map_while(Result::ok) {
                // If Redis is down, dropping `daemon` closes the connection.
                if let Ok(redis) = UnixStream::connect(&redis) {
                    let _ = connect(&gates, daemon, redis);
                }
            }
        });
        proxy
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("proxy.sock")
    }

    /// Sets the flows of all open connections and of new ones.
    pub fn set(&self, open: Flows, new: Flows) {
        *self.gates.new.lock().unwrap() = Some(new);
        for gate in &*self.gates.all.lock().unwrap() {
            gate.set(open);
        }
    }
}

fn connect(gates: &Gates, daemon: UnixStream, redis: UnixStream) -> io::Result<()> {
    let gate = Arc::new(Gate {
        flows: Mutex::new(gates.new.lock().unwrap().unwrap_or(PASS)),
        changed: Condvar::new(),
    });
    gates.all.lock().unwrap().push(Arc::clone(&gate));
    for (from, to, direction) in [
        (daemon.try_clone()?, redis.try_clone()?, Direction::ToRedis),
        (redis, daemon, Direction::ToDaemon),
    ] {
        let gate = Arc::clone(&gate);
        std::thread::spawn(move || {
            let _ = pump(&gate, direction, from, to);
        });
    }
    Ok(())
}

fn pump(
    gate: &Gate,
    direction: Direction,
    mut from: UnixStream,
    mut to: UnixStream,
) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let mut dropping = false;
    loop {
        let length = from.read(&mut buffer).unwrap_or(0);
        let flow = gate.wait(direction);
        dropping |= flow == Flow::Drop;
        if length == 0 {
            // The connection stays half-open.
            if gate.hides_close() {
                return Ok(());
            }
            return to.shutdown(Shutdown::Write);
        }
        if flow == Flow::Cut {
            from.shutdown(Shutdown::Both)?;
            return to.shutdown(Shutdown::Both);
        }
        if !dropping {
            to.write_all(&buffer[..length])?;
        }
    }
}

impl Gate {
    fn set(&self, flows: Flows) {
        *self.flows() = flows;
        self.changed.notify_all();
    }

    /// Waits while the flow is [`Flow::Hold`], and returns the next one.
    fn wait(&self, direction: Direction) -> Flow {
        let flow = |flows: &Flows| match direction {
            Direction::ToRedis => flows.to_redis,
            Direction::ToDaemon => flows.to_daemon,
        };
        let flows = self
            .changed
            .wait_while(self.flows(), |flows| flow(flows) == Flow::Hold)
            .unwrap_or_else(PoisonError::into_inner);
        flow(&flows)
    }

    fn hides_close(&self) -> bool {
        self.flows().hides_close
    }

    fn flows(&self) -> MutexGuard<'_, Flows> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
