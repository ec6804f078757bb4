//! Process lifecycle: signals, notifications to systemd, retries of the start, the watchdog.

use std::time::Duration;

use futures_util::future::OptionFuture;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::failure::Remedy;
use crate::queue::Status;

/// Disables core dumps, so that the keys and passwords in memory are never written to disk. Other
/// processes of the same user can no longer read the memory either.
pub fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Lowering a limit is always allowed. A failure is not fatal: it can only mean that the system
    // does not support the call.
    if let Err(error) = setrlimit(Resource::Core, none) {
        warn!(%error, "cannot disable core dumps");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%error, "cannot protect the memory of the process from other processes");
    }
}

/// The signals that stop the daemon.
pub struct Termination {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if the process was started with SIGHUP ignored, as `nohup` does.
    hangup: Option<Signal>,
}

impl Termination {
    /// Installs the signal handlers.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: (!ignores_hangup())
                .then(|| signal(SignalKind::hangup()))
                .transpose()?,
        })
    }

    /// Resolves at the first SIGTERM, SIGINT or SIGHUP.
    pub async fn requested(&mut self) {
        let hangup = OptionFuture::from(self.hangup.as_mut().map(Signal::recv));
        tokio::select! {
            _ = self.terminate.recv() => info!(signal = "SIGTERM", "stopping"),
            Some(_) = hangup => info!(signal = "SIGHUP", "stopping"),
            _ = self.interrupt.recv() => {
                info!(signal = "SIGINT", "stopping; press Ctrl-C again to end at once");
            }
        }
    }

    /// Resolves at the next SIGINT: the operator does not want to wait. SIGTERM does not count,
    /// because supervisors may repeat it.
    pub async fn interrupted(&mut self) {
        self.interrupt.recv().await;
    }
}

/// Ends the process at once, with the exit status of a process that SIGINT ended (130). No request
/// is lost: unacknowledged requests stay in the processing lists, and the next start recovers them.
#[expect(
    clippy::disallowed_methods,
    reason = "destructors would wait for requests in progress"
)]
pub fn end_at_once() -> ! {
    const SIGINT: i32 = 2;
    info!("ended at once; the next start recovers the unacknowledged requests");
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

/// First delay before a step of the start is retried.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Maximum delay before a step of the start is retried.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// Runs a step of the start, and retries it while its error is temporary. Reports the error in the
/// log and to systemd.
///
/// # Errors
/// Returns the error of the step if it is not temporary.
pub async fn retry<T>(
    remedy: fn(&anyhow::Error) -> Remedy,
    mut step: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let extension = u32::try_from((2 * MAX_DELAY).as_micros()).unwrap_or(u32::MAX);
    let mut delay = FIRST_DELAY;
    let mut reported = String::new();
    loop {
        let error = match step().await {
            Err(error) if remedy(&error) == Remedy::Wait => error,
            result => return result,
        };
        let reason = format!("{error:#}");
        notify(&[
            NotifyState::Status(&format!("Cannot start yet: {reason}").replace('\n', " ")),
            // Otherwise systemd would end a start that takes longer than TimeoutStartSec=.
            NotifyState::ExtendTimeoutUsec(extension),
        ]);
        if reason == reported {
            debug!(error = reason, ?delay, "still cannot start");
        } else {
            warn!(error = reason, "cannot start yet, and will try again");
            reported = reason;
        }
        tokio::time::sleep(delay).await;
        delay = (2 * delay).min(MAX_DELAY);
    }
}

/// Notifies systemd that the daemon is ready.
pub fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// Notifies systemd that the daemon is stopping.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Sends `STATUS=` to systemd at each change, and a watchdog notification at half the interval of
/// the watchdog. Ends with the worker.
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
        Status::Foreign(store) => format!("Another store ({store}) serves this queue"),
        Status::Away(why) => format!("Redis is unavailable: {why}").replace('\n', " "),
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // A failure is not fatal. Without systemd, `notify` does nothing.
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "cannot notify systemd");
    }
}

/// Aborts the process as soon as `check` returns a reason. It runs on a thread of its own, because
/// every other thread may hang. No request is lost: the next start recovers the unacknowledged
/// requests.
///
/// # Errors
/// When the thread cannot be started.
pub fn start_watchdog(
    interval: Duration,
    check: impl Fn() -> Option<String> + Send + 'static,
) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("watchdog".into())
        .spawn(move || {
            loop {
                std::thread::sleep(interval);
                if let Some(reason) = check() {
                    error!(reason, "aborting, so that a restart can serve requests");
                    // Not an orderly exit: destructors would wait for the thread that hangs.
                    std::process::abort();
                }
            }
        })
        .map(|_| ())
}
