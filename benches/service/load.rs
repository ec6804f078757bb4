//! Load generator: a constant number of requests in flight, from one thread on raw sockets. Each
//! reply triggers the next request.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::resp::{Answer, Connection};

const REPLY_PREFIX: &str = "platypush/responses/";
/// Number of connections that read replies. A connection blocks on one reply at a time, so a reply
/// that arrives early is only read after the earlier ones of its connection.
const READERS: usize = 8;

/// Parameters of a load.
pub struct Load<'a> {
    pub port: u16,
    pub queue: &'a str,
    /// `target` of the requests: the daemon accepts any, a Platypush node only its own name.
    pub target: &'a str,
    pub in_flight: usize,
    /// Pause between a reply and the next request; for loads with one request in flight.
    pub pause: Duration,
    /// Returns the JSON of `action` and `args` of the request with a number.
    pub request: &'a mut dyn FnMut(u64) -> String,
    /// Text that each reply must contain.
    pub expect: &'a str,
    /// Time before the measurement, whose replies are not counted.
    pub warm_up: Duration,
    pub measured: Duration,
}

/// Result of a load.
pub struct Measured {
    pub per_second: f64,
    /// Times from request to reply in microseconds, sorted.
    micros: Vec<u32>,
    all: u32,
}

impl Measured {
    pub fn percentile(&self, percent: usize) -> f64 {
        let last = self.micros.len() - 1;
        f64::from(self.micros[last * percent / 100])
    }

    /// Returns the number of replies, including those outside the measured time.
    pub fn all_replies(&self) -> f64 {
        f64::from(self.all)
    }

    /// Like [`Self::all_replies`], as an integer.
    pub fn count(&self) -> u64 {
        self.all.into()
    }
}

struct Reader {
    connection: Connection,
    sent: VecDeque<Instant>,
}

impl Load<'_> {
    pub fn run(self) -> io::Result<Measured> {
        let mut writer = Connection::open(self.port)?;
        let readers = READERS.min(self.in_flight);
        let mut readers = (0..readers)
            .map(|_| {
                Ok(Reader {
                    connection: Connection::open(self.port)?,
                    sent: VecDeque::new(),
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        let run = format!("{:x}", std::process::id() ^ rand());
        let begin = Instant::now();
        let (start, end) = (begin + self.warm_up, begin + self.warm_up + self.measured);
        let mut micros = Vec::with_capacity(1 << 20);
        let mut numbers = 0u64..;
        let mut open = 0;
        let mut all = 0;
        let mut last = start;
        loop {
            let now = Instant::now();
            if now < end && open < self.in_flight {
                if !self.pause.is_zero() {
                    std::thread::sleep(self.pause);
                }
                let now = Instant::now();
                let count = self.in_flight - open;
                let stamp = unix_seconds();
                for _ in 0..count {
                    let number = numbers.next().unwrap_or_default();
                    let id = format!("{run}-{number}");
                    let request = (self.request)(number);
                    let target = self.target;
                    // One command per request, as clients send it.
                    let message = format!(
                        "{{\"type\": \"request\", \"target\": \"{target}\", {request}, \"origin\": \"bench\", \"id\": \"{id}\", \"token\": null, \"_timestamp\": {stamp}}}"
                    );
                    writer.command([b"RPUSH", self.queue.as_bytes(), message.as_bytes()]);
                    let reader = usize::try_from(number).unwrap_or_default() % readers.len();
                    let reader = &mut readers[reader];
                    let key = format!("{REPLY_PREFIX}{id}");
                    reader.connection.command([b"BLPOP", key.as_bytes(), b"0"]);
                    reader.sent.push_back(now);
                    open += 1;
                }
                for reader in &mut readers {
                    reader.connection.send()?;
                }
                writer.send()?;
            }
            if open == 0 {
                break;
            }
            let ready = wait_readable(&writer, &readers)?;
            if ready[0] {
                writer.receive()?;
                while writer.next(|_| {}) {}
            }
            for (reader, ready) in readers.iter_mut().zip(&ready[1..]) {
                if !ready {
                    continue;
                }
                reader.connection.receive()?;
                let now = Instant::now();
                let expect = self.expect;
                let mut nth = 0;
                while reader.connection.next(|answer| {
                    if let Answer::Text(text) = answer {
                        nth += 1;
                        // `BLPOP` answers with the key and the value.
                        assert!(
                            nth % 2 == 1 || contains(text, expect.as_bytes()),
                            "an unexpected reply: {}",
                            String::from_utf8_lossy(text)
                        );
                    }
                }) {
                    let sent = reader.sent.pop_front().unwrap_or(now);
                    open -= 1;
                    all += 1;
                    if now >= start && now < end {
                        last = now;
                        micros.push(u32::try_from((now - sent).as_micros()).unwrap_or(u32::MAX));
                    }
                }
            }
        }
        assert!(!micros.is_empty(), "no reply in {:?}", self.measured);
        #[expect(clippy::cast_precision_loss, reason = "a count of seconds' worth")]
        let per_second = micros.len() as f64 / (last - start).as_secs_f64();
        micros.sort_unstable();
        Ok(Measured {
            per_second,
            micros,
            all,
        })
    }
}

fn wait_readable(writer: &Connection, readers: &[Reader]) -> io::Result<Vec<bool>> {
    let streams =
        std::iter::once(writer.stream()).chain(readers.iter().map(|r| r.connection.stream()));
    let mut fds: Vec<_> = streams
        .map(|stream| PollFd::new(stream, PollFlags::IN))
        .collect();
    poll(&mut fds, None)?;
    Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// Whether `text` contains `part`. Searches from the end, where errors are.
fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).rev().any(|window| window == part)
}

fn unix_seconds() -> f64 {
    std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0.0, |since| since.as_secs_f64())
}

fn rand() -> u32 {
    platypush_userd::random::bytes().map_or(0, u32::from_le_bytes)
}
