//! A proxy between a daemon and its Redis that can fall silent: it keeps the
//! connections open and what is sent for itself.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

/// What is done with what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Pass,
    /// Kept until the flow changes.
    Hold,
    /// Thrown away, and all that follows on the same connection: a stream
    /// with a hole would be another protocol.
    Drop,
    /// The next bytes are thrown away, and the connection with them.
    Cut,
}

/// The two directions.
#[derive(Clone, Copy, Debug)]
pub struct Flows {
    pub to_redis: Flow,
    pub to_daemon: Flow,
    /// Whether Redis does not learn that the daemon has closed a connection.
    pub loses_end: bool,
}

pub const PASS: Flows = Flows {
    to_redis: Flow::Pass,
    to_daemon: Flow::Pass,
    loses_end: false,
};

pub struct Proxy {
    folder: TempDir,
    gates: Arc<Gates>,
}

#[derive(Default)]
struct Gates {
    all: Mutex<Vec<Arc<Gate>>>,
    /// What connections made from now on are given.
    fresh: Mutex<Option<Flows>>,
}

/// What holds one connection's bytes.
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
                // A Redis that is away ends the connection.
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

    /// Changes the flow of all connections there are, and of those to come.
    pub fn set(&self, present: Flows, fresh: Flows) {
        *self.gates.fresh.lock().unwrap() = Some(fresh);
        for gate in &*self.gates.all.lock().unwrap() {
            gate.set(present);
        }
    }
}

fn connect(gates: &Gates, daemon: UnixStream, redis: UnixStream) -> io::Result<()> {
    let gate = Arc::new(Gate {
        flows: Mutex::new(gates.fresh.lock().unwrap().unwrap_or(PASS)),
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
    let mut broken = false;
    loop {
        let length = from.read(&mut buffer).unwrap_or(0);
        let flow = gate.wait(direction);
        broken |= flow == Flow::Drop;
        if length == 0 {
            // Half-open for as long as it is silent, or for good.
            if gate.loses_end() {
                return Ok(());
            }
            return to.shutdown(Shutdown::Write);
        }
        if flow == Flow::Cut {
            from.shutdown(Shutdown::Both)?;
            return to.shutdown(Shutdown::Both);
        }
        if !broken {
            to.write_all(&buffer[..length])?;
        }
    }
}

impl Gate {
    fn set(&self, flows: Flows) {
        *self.flows() = flows;
        self.changed.notify_all();
    }

    /// Waits while the flow is held; what it is then.
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

    fn loses_end(&self) -> bool {
        self.flows().loses_end
    }

    fn flows(&self) -> MutexGuard<'_, Flows> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
