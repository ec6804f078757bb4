//! The log on standard error, and errors for a person beside it.
//!
//! Nobody may read it, or its disk may be full: that must not end the service
//! or hold it up. A line that cannot be written is dropped and counted.

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

/// How long a line waits for a reader that does not read.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long no line waits after one that did: a reader that is always a little
/// behind must not make every line wait.
const WAIT_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes that a pipe takes at once when `poll` says that it takes any
/// (`PIPE_BUF`, pipe(7)).
const PIECE: usize = 4096;

/// Lines that were dropped since the start…
static DROPPED: AtomicU64 = AtomicU64::new(0);
/// …of which the log has told.
static REPORTED: AtomicU64 = AtomicU64::new(0);
/// When a line last waited for the reader.
static LAST_WAIT: Mutex<Option<Instant>> = Mutex::new(None);
/// Whether what was written last is the beginning of a line.
static CUT_OFF: AtomicBool = AtomicBool::new(false);

/// Starts the log: on standard error, which is systemd's journal. Text from
/// clients is only ever logged in its escaped `Debug` form.
pub(super) fn start(log: &Log) {
    let base = format()
        .with_max_level(log.level)
        .with_writer(|| Lines)
        // It would panic where standard error cannot be written.
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => base.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => base.json().flatten_event(true).init(),
    }
    // A panic's message may quote what it was about; its place is enough.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a panic: please report it");
    }));
}

/// Prints a line on standard error. Unlike `eprintln!`, it does not panic
/// where that cannot be written.
pub fn complain(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Takes whole lines of the log.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let is_written = !is_discarding();
        if write_line(line, is_written).is_err() && is_written {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        let dropped = DROPPED.load(Ordering::Relaxed);
        // Only a line that was written shows that the next one will be.
        if is_written && REPORTED.swap(dropped, Ordering::Relaxed) != dropped {
            // Goes through here again, with nothing left to report.
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

/// Writes a line, or does the same with nothing in it.
fn write_line(line: &[u8], is_written: bool) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    if is_written && CUT_OFF.load(Ordering::Relaxed) {
        // Else this line would go on behind the beginning of another one.
        wait_for_reader(&stderr)?;
        stderr.write_all(b"\n")?;
        CUT_OFF.store(false, Ordering::Relaxed);
    }
    let mut rest = line;
    while !rest.is_empty() {
        wait_for_reader(&stderr)?;
        let piece = rest.get(..PIECE).unwrap_or(rest);
        let written = if is_written {
            stderr.write(piece)
        } else {
            rustix::io::write(&stderr, &[])?;
            Ok(piece.len())
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

/// Waits until standard error takes a piece: a pipe or a terminal whose reader
/// has stopped, or is slow, would hold up the thread that serves. So it waits
/// [`PATIENCE`] at most once in [`WAIT_INTERVAL`].
fn wait_for_reader(stderr: &io::StderrLock<'_>) -> io::Result<()> {
    if takes_a_piece(stderr, Duration::ZERO)? {
        return Ok(());
    }
    let mut last_wait = LAST_WAIT.lock().unwrap_or_else(PoisonError::into_inner);
    let may_wait = last_wait.is_none_or(|last| last.elapsed() >= WAIT_INTERVAL);
    if may_wait {
        let ready = takes_a_piece(stderr, PATIENCE)?;
        *last_wait = Some(Instant::now());
        if ready {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn takes_a_piece(stderr: &io::StderrLock<'_>, patience: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut descriptors = [PollFd::new(stderr, PollFlags::OUT)];
    // What cannot be waited for is written to.
    Ok(retry_on_intr(|| poll(&mut descriptors, Some(&timeout))).map_or(true, |count| count > 0))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::log_quota::discard;

    /// On a full disk, a line that was only pretended to be written marked the
    /// dropped ones as told.
    #[test]
    fn a_discarded_line_tells_of_no_dropped_ones() {
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
