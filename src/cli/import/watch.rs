//! Progress bar and Ctrl-C of an import.

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::complain;
use crate::store::ImportProgress;
use crate::transfer::import::ImportRequest;

/// Exit status of an import that Ctrl-C ended: 128 + SIGINT, as in a shell.
pub(super) const INTERRUPTED: u8 = 130;
/// Interval at which the bar is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// What Ctrl-C does at present.
pub(super) enum OnInterrupt {
    /// Ends the process: nothing has been sent to the store.
    Exit,
    /// Stops the import, which runs in this process or in the daemon; a second Ctrl-C ends the process.
    StopImport,
    /// Nothing: the child on this terminal gets the signal too, and reports the outcome.
    LeaveToChild,
}

/// Handles Ctrl-C, so that an interrupted import reports its outcome.
#[derive(Clone)]
pub(super) struct Interrupts {
    /// Progress of the import.
    pub progress: Arc<ImportProgress>,
    on_interrupt: Arc<Mutex<OnInterrupt>>,
}

impl Interrupts {
    /// Starts to handle Ctrl-C, on a thread of its own: reading and writing block.
    pub(super) fn listen() -> io::Result<Self> {
        let interrupts = Self {
            progress: Arc::default(),
            on_interrupt: Arc::new(Mutex::new(OnInterrupt::Exit)),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let mut signals = {
            let _inside = runtime.enter();
            signal(SignalKind::interrupt())?
        };
        let handler = interrupts.clone();
        thread::Builder::new()
            .name("interrupts".into())
            .spawn(move || {
                runtime.block_on(async {
                    while signals.recv().await.is_some() {
                        handler.handle();
                    }
                });
            })?;
        Ok(interrupts)
    }

    /// Sets what Ctrl-C does from now on.
    pub(super) fn set(&self, on_interrupt: OnInterrupt) {
        *self.on_interrupt() = on_interrupt;
    }

    /// Whether Ctrl-C requested the import to stop.
    pub(super) fn requested_stop(&self) -> bool {
        self.progress.is_interrupted()
    }

    fn on_interrupt(&self) -> MutexGuard<'_, OnInterrupt> {
        let on_interrupt = self.on_interrupt.lock();
        on_interrupt.unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the thread that reads the source may block, and has nothing to lose"
    )]
    fn handle(&self) {
        match *self.on_interrupt() {
            OnInterrupt::Exit => {
                complain("platypush-userd: interrupted: no user was imported");
                std::process::exit(INTERRUPTED.into());
            }
            // The daemon or the disk may hang.
            OnInterrupt::StopImport if self.requested_stop() => {
                complain(format_args!(
                    "platypush-userd: interrupted twice. {}",
                    super::ALL_OR_NONE
                ));
                std::process::exit(INTERRUPTED.into());
            }
            OnInterrupt::StopImport => self.progress.interrupt(),
            OnInterrupt::LeaveToChild => {}
        }
    }
}

/// Progress bar of the users that are written. Draws nothing unless standard error is a terminal.
pub(super) struct WritingBar(Option<(Sender<()>, JoinHandle<()>)>);

impl WritingBar {
    pub(super) fn start(request: &ImportRequest) -> Self {
        if request.dry_run || !io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = bar("writing", request.users.len() as u64);
        let progress = Arc::clone(&request.progress);
        let (finish, finished) = channel();
        let drawing = thread::spawn(move || {
            while finished.recv_timeout(REDRAW) == Err(RecvTimeoutError::Timeout) {
                bar.set_position(progress.users());
            }
            bar.finish_and_clear();
        });
        Self(Some((finish, drawing)))
    }

    pub(super) fn finish(self) {
        if let Self(Some((finish, drawing))) = self {
            drop(finish);
            let _ = drawing.join();
        }
    }
}

/// Returns a progress bar on standard error, hidden unless that is a terminal.
pub(super) fn bar(activity: &'static str, users: u64) -> ProgressBar {
    let template = format!("{activity} {{bar:40}} {{pos}} of {{len}} users");
    let style = ProgressStyle::with_template(&template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(users).with_style(style)
}
