//! What a person sees and does while users are written: a progress bar, and
//! Ctrl-C.

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

/// Exit status of an import that Ctrl-C ended: as of a process that SIGINT
/// ended.
pub(super) const INTERRUPTED: u8 = 130;
/// How often the bar is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// What Ctrl-C means at present.
enum Meaning {
    /// Nothing has been sent to the store: the process ends.
    End,
    /// The import is to stop; a second time, the process ends.
    Interrupt,
    /// Another process on this terminal hears it, and says what became of the
    /// import.
    Leave,
}

/// Hears Ctrl-C, so that an import says what became of it.
pub(super) struct Interrupts {
    progress: Arc<ImportProgress>,
    meaning: Arc<Mutex<Meaning>>,
}

impl Interrupts {
    /// Listens from now on, on a thread of its own: reading and writing block.
    pub(super) fn listen() -> io::Result<Self> {
        let interrupts = Self {
            progress: Arc::default(),
            meaning: Arc::new(Mutex::new(Meaning::End)),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let mut signals = {
            let _inside = runtime.enter();
            signal(SignalKind::interrupt())?
        };
        let (progress, meaning) = (
            Arc::clone(&interrupts.progress),
            Arc::clone(&interrupts.meaning),
        );
        thread::Builder::new()
            .name("interrupts".into())
            .spawn(move || {
                runtime.block_on(async {
                    while signals.recv().await.is_some() {
                        heed(&lock(&meaning), &progress);
                    }
                });
            })?;
        Ok(interrupts)
    }

    /// How far the import is.
    pub(super) fn progress(&self) -> Arc<ImportProgress> {
        Arc::clone(&self.progress)
    }

    /// From now on the import is under way, in this process or in the daemon.
    pub(super) fn interrupt_the_import(&self) {
        *lock(&self.meaning) = Meaning::Interrupt;
    }

    /// From now on the import is another process'.
    pub(super) fn leave_to_another(&self) {
        *lock(&self.meaning) = Meaning::Leave;
    }

    /// Whether the import was asked to stop.
    pub(super) fn came(&self) -> bool {
        self.progress.is_interrupted()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the thread that reads the source may block, and has nothing to lose"
)]
fn heed(meaning: &Meaning, progress: &ImportProgress) {
    match meaning {
        Meaning::End => {
            complain("platypush-userd: interrupted: nobody was brought");
            std::process::exit(INTERRUPTED.into());
        }
        // A daemon that hangs, or a disk.
        Meaning::Interrupt if progress.is_interrupted() => {
            complain(format_args!(
                "platypush-userd: interrupted twice. {}",
                super::ALL_OR_NONE
            ));
            std::process::exit(INTERRUPTED.into());
        }
        Meaning::Interrupt => progress.interrupt(),
        Meaning::Leave => {}
    }
}

fn lock(meaning: &Mutex<Meaning>) -> MutexGuard<'_, Meaning> {
    meaning.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many users are written, drawn while it is not finished; nothing where
/// standard error is no terminal.
pub(super) struct WritingBar(Option<(Sender<()>, JoinHandle<()>)>);

impl WritingBar {
    pub(super) fn start(order: &ImportRequest) -> Self {
        if order.dry_run || !io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = bar("writing", order.people.len() as u64);
        let progress = Arc::clone(&order.progress);
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

/// A bar on standard error, only where that is a terminal.
pub(super) fn bar(doing: &'static str, users: u64) -> ProgressBar {
    let template = format!("{doing} {{bar:40}} {{pos}} of {{len}} users");
    let style = ProgressStyle::with_template(&template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(users).with_style(style)
}
