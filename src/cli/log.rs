//! The log on standard error, and operator messages beside it.
//!
//! The reader of the log may have stopped, or its disk may be full. That must neither end nor block
//! the service: a line that cannot be written is dropped and counted. `eprintln!` and `println!`
//! panic in that case, and are not used.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use tracing_subscriber::fmt as format;

use crate::config::{Log, LogFormat};
use crate::log_quota::is_discarding;

/// Maximum time for which a line waits for a reader that does not read.
const READER_TIMEOUT: Duration = Duration::from_millis(250);
/// Time after a wait in which no other line waits: a reader that is always a little
/// behind must not delay every line.
const WAIT_INTERVAL: Duration = Duration::from_secs(10);
/// Number of bytes that a pipe accepts without blocking when `poll` reports it writable
/// (`PIPE_BUF`, pipe(7)).
const CHUNK: usize = 4096;

/// Number of lines dropped since the start.
static DROPPED: AtomicU64 = AtomicU64::new(0);
/// Value of [`DROPPED`] that was last reported in the log.
static REPORTED: AtomicU64 = AtomicU64::new(0);
/// Time at which a line last waited for the reader.
static LAST_WAIT: Mutex<Option<Instant>> = Mutex::new(None);
/// Whether the last write ended within a line.
static CUT_OFF: AtomicBool = AtomicBool::new(false);

/// Starts the log on standard error, which systemd connects to the journal. Text from
/// clients is logged in its escaped `Debug` form only.
pub(super) fn start(log: &Log) {
    let base = format()
        .with_max_level(log.level)
        .with_writer(|| Lines)
        // Reporting an internal error would panic if standard error cannot be written.
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => base.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => base.json().flatten_event(true).init(),
    }
    // The message of a panic may quote a secret: log the location only.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a panic: please report it");
    }));
}

/// Prints a line on standard error. Unlike `eprintln!`, it does not panic if standard error
/// cannot be written.
pub fn complain(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writer of the log. Each `write` gets one whole line.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let is_written = !is_discarding();
        if write_line(line, is_written).is_err() && is_written {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        let dropped = DROPPED.load(Ordering::Relaxed);
        // Report only after a successful write: the report would be dropped, too.
        if is_written && REPORTED.swap(dropped, Ordering::Relaxed) != dropped {
            // This call comes back to here, with nothing left to report.
            tracing::warn!(
                since_the_start = dropped,
                "lines of the log could not be written and were dropped"
            );
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a line. If `is_written` is false, makes the same system calls without data.
fn write_line(line: &[u8], is_written: bool) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    if is_written && CUT_OFF.load(Ordering::Relaxed) {
        // Otherwise this line would continue the line that was cut off.
        wait_for_reader(&stderr)?;
        stderr.write_all(b"\n")?;
        CUT_OFF.store(false, Ordering::Relaxed);
    }
    let mut rest = line;
    while !rest.is_empty() {
        wait_for_reader(&stderr)?;
        let chunk = rest.get(..CHUNK).unwrap_or(rest);
        let written = if is_written {
            stderr.write(chunk)
        } else {
            rustix::io::write(&stderr, &[])?;
            Ok(chunk.len())
        };
        match written {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                rest = rest.get(written..).unwrap_or_default();
                if is_written {
                    CUT_OFF.store(!rest.is_empty(), Ordering::Relaxed);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits until standard error accepts a chunk. A pipe or a terminal whose reader has stopped or
/// is slow would block the thread that serves requests, so the wait takes at most
/// [`READER_TIMEOUT`] once in [`WAIT_INTERVAL`].
fn wait_for_reader(stderr: &io::StderrLock<'_>) -> io::Result<()> {
    if accepts_chunk(stderr, Duration::ZERO)? {
        return Ok(());
    }
    let mut last_wait = LAST_WAIT.lock().unwrap_or_else(PoisonError::into_inner);
    let may_wait = last_wait.is_none_or(|last| last.elapsed() >= WAIT_INTERVAL);
    if may_wait {
        let ready = accepts_chunk(stderr, READER_TIMEOUT)?;
        *last_wait = Some(Instant::now());
        if ready {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn accepts_chunk(stderr: &io::StderrLock<'_>, timeout: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    let mut descriptors = [PollFd::new(stderr, PollFlags::OUT)];
    // A descriptor that `poll` rejects is written to without waiting.
    Ok(retry_on_intr(|| poll(&mut descriptors, Some(&timeout))).map_or(true, |count| count > 0))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::log_quota::discard;

    /// Regression: on a full disk, a discarded line marked the dropped lines as reported.
    #[test]
    fn a_discarded_line_does_not_report_dropped_lines() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
        discard(|| Lines.write_all(b"x").unwrap());
        assert_ne!(
            REPORTED.load(Ordering::Relaxed),
            DROPPED.load(Ordering::Relaxed)
        );
        assert_eq!(Lines.write(b"").unwrap(), 0);
        assert_eq!(
            REPORTED.load(Ordering::Relaxed),
            DROPPED.load(Ordering::Relaxed)
        );
    }
}
