//! Life of the process: signals, systemd, the watchdog.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::failure::Remedy;
use crate::queue::Status;

/// Sees to it that no memory of the process, which holds keys and passwords,
/// is ever written to a disk as a core dump; children and other processes of
/// the user cannot read it either.
pub fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Lowering a limit is always allowed; a system that does neither has no
    // such thing.
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be switched off");
    }
    if let Err(error) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the memory of the process could not be closed to others");
    }
}

/// The signals that ask the daemon to end.
pub struct Termination {
    terminate: Signal,
    interrupt: Signal,
    /// `None` where whoever started the daemon ignores it, as `nohup` does.
    hangup: Option<Signal>,
}

impl Termination {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the handlers cannot be set.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if ignores_hangup() {
                None
            } else {
                Some(signal(SignalKind::hangup())?)
            },
        })
    }

    /// Resolves at the first SIGTERM, SIGINT or SIGHUP.
    pub async fn asked(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => info!(signal = "SIGTERM", "stopping"),
            _ = hangup => info!(signal = "SIGHUP", "stopping"),
            _ = self.interrupt.recv() => {
                info!(signal = "SIGINT", "stopping; Ctrl-C again ends it at once");
            }
        }
    }

    /// Resolves at the next SIGINT: of a person who does not want to wait. (Not
    /// at a SIGTERM, which supervisors may repeat.)
    pub async fn hurried(&mut self) {
        self.interrupt.recv().await;
    }
}

/// Ends the process at once, with the exit status of one that SIGINT ended.
/// Nothing is lost: what was not answered is in the processing lists, for the
/// next start.
#[expect(
    clippy::disallowed_methods,
    reason = "destructors would wait for what is under way"
)]
pub fn end_at_once() -> ! {
    const SIGINT: i32 = 2;
    info!("ended at once; the next start goes on with what was not settled");
    std::process::exit(128 + SIGINT)
}

/// Whether the process was started with SIGHUP ignored (proc_pid_status(5)).
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // SIGHUP is number 1, and so the lowest bit.
    mask.unwrap_or(0) & 1 != 0
}

/// Shortest and longest pause before a start is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Tries a step of the start again while its error may go away by itself, and
/// says why in the log and to systemd.
///
/// # Errors
/// The step's error, where it does not go away.
pub async fn retry<T>(
    remedy: fn(&anyhow::Error) -> Remedy,
    mut step: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut pause = FIRST_PAUSE;
    let mut said = String::new();
    loop {
        let error = match step().await {
            Err(error) if remedy(&error) == Remedy::Wait => error,
            result => return result,
        };
        let why = format!("{error:#}");
        notify(&[
            NotifyState::Status(&format!("Cannot start yet: {why}").replace('\n', " ")),
            // Else systemd would end a start that takes longer than TimeoutStartSec=.
            NotifyState::ExtendTimeoutUsec(micros(2 * LONGEST_PAUSE)),
        ]);
        if why == said {
            debug!(error = why, ?pause, "still cannot start");
        } else {
            warn!(error = why, "cannot start yet, and will try again");
            said = why;
        }
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// Tells systemd, where it listens, that the daemon is ready.
pub fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells systemd that the daemon winds down.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Keeps systemd informed: `STATUS=` as it changes, and a sign of life at
/// half the watchdog's interval. Ends with the worker.
pub async fn keep_systemd_informed(mut status: watch::Receiver<Status>) {
    let interval = sd_notify::watchdog_enabled().map_or(Duration::MAX, |limit| limit / 2);
    loop {
        notify(&[NotifyState::Status(&describe(&status.borrow_and_update()))]);
        loop {
            match tokio::time::timeout(interval, status.changed()).await {
                Err(_) => notify(&[NotifyState::Watchdog]),
                Ok(Ok(())) => break,
                Ok(Err(_)) => return,
            }
        }
        notify(&[NotifyState::Watchdog]);
    }
}

fn describe(status: &Status) -> String {
    match status {
        Status::Connecting => "Store open; connecting to Redis".into(),
        Status::Serving => "Serving requests".into(),
        Status::Foreign(store) => format!("The store {store} works on this queue"),
        Status::Away(why) => format!("Redis does not do its part: {why}").replace('\n', " "),
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell, and that is fine.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}

/// Ends the process when `trouble` says so, from a thread of its own: what
/// hangs may hang every other thread. Nothing is lost: what had not been
/// answered is run at the next start.
///
/// # Errors
/// When the thread cannot be started.
pub fn watch_for_trouble(
    interval: Duration,
    trouble: impl Fn() -> Option<String> + Send + 'static,
) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("watchdog".into())
        .spawn(move || {
            loop {
                std::thread::sleep(interval);
                if let Some(reason) = trouble() {
                    error!(reason, "ending, so that a new start can serve");
                    // Not an orderly exit: destructors would wait for what
                    // hangs.
                    std::process::abort();
                }
            }
        })
        .map(|_| ())
}
