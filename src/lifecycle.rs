//! Life of the process: signals, systemd, the watchdog.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info};

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
        })
    }

    /// Resolves at the first SIGTERM or SIGINT.
    pub async fn asked(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "stopping");
    }
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
