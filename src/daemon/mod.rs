//! The composition root: the only room that names a concrete store and queue, and that connects the
//! rooms.
//!
//! # Starting
//!
//! Each step is retried while its error has the remedy `Wait` ([`retry`]). `remedies.rs` has the
//! table of all error types with a remedy, and each type matches its variants by name.
//!
//! # Threads
//!
//! One thread runs everything that waits, because there is little to compute besides hashing,
//! writing and reading many records, and those have threads of their own. The executor polls a
//! message on the thread that fetched it, and makes a task only for a message that has to wait.

mod administration;
mod build;
pub mod remedies;

use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use self::remedies::remedy;
use crate::actions::ACTIONS;
use crate::admin::Operator;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::control::Control;
use crate::dispatch::{Dispatcher, Turns};
use crate::events::{Publisher, PublisherHandle};
use crate::lifecycle::{self, Termination, retry};
use crate::queue::{self, CrashJournal, Handler, LeftEntries, Status, UnreadReplies, Worker};
use crate::redis::Connector;
use crate::rotation;
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::sweeper;
use crate::workdir::Workdir;

pub use self::administration::Administration;

/// Runs the daemon until a signal stops it.
///
/// # Errors
/// When it cannot start, and waiting does not help. Once it serves it does not fail: Redis may
/// become unavailable and return.
pub async fn serve(config: &Config) -> Result<()> {
    lifecycle::forbid_core_dumps();
    let mut termination = Termination::listen().context("cannot listen for signals")?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let started = tokio::select! {
        biased;
        () = termination.requested() => {
            info!("stopped before the start");
            return Ok(());
        }
        started = start(config) => started?,
    };
    started.serve(config, &mut termination).await
}

/// A daemon whose files are all open.
struct Started {
    control: Control,
    dispatcher: Arc<Dispatcher>,
    publisher_handle: Option<PublisherHandle>,
    connector: Connector,
    left: LeftEntries,
    journal: Arc<CrashJournal>,
    store: Arc<SledStore>,
    run_ids: Vec<[u8; 16]>,
    /// The last field: its lock ends when everything else has been dropped.
    workdir: Workdir,
}

/// Opens everything that the daemon needs. An obstacle that may end by itself, such as a full disk,
/// is waited for, without opening again what is open by then.
async fn start(config: &Config) -> Result<Started> {
    let workdir = retry(remedy, async || Ok(Workdir::open(&config.workdir)?)).await?;
    let store = retry(remedy, async || {
        Ok(Arc::new(SledStore::open(workdir.path())?))
    })
    .await?;
    keep_a_thread().await?;
    let progress = store.progress();
    let write_timeout = config.write_timeout;
    lifecycle::start_watchdog(check_interval(write_timeout), move || {
        progress.fatal_error(write_timeout)
    })
    .context("cannot start the watchdog")?;

    let (keyring, vault) = retry(remedy, async || {
        build::open_keys(config, workdir.path(), &*store).await
    })
    .await?;
    retry(remedy, async || {
        Ok(rotation::finish_rotation(&keyring, &*store).await?)
    })
    .await?;
    let blocklist = retry(remedy, async || build::blocklist(config)).await?;
    let services = Arc::new(build::services(
        config,
        Arc::clone(&store) as Arc<dyn Store>,
        vault,
        blocklist,
    )?);
    let hashing_turns = build::hashing_turns(config);
    let (journal, left) = retry(remedy, async || {
        build::open_crash_journal(workdir.path(), hashing_turns)
    })
    .await?;
    let connector = retry(remedy, async || Ok(Connector::new(&config.redis)?)).await?;
    let (events, publisher_handle) = Publisher::start(connector.clone(), &config.publish).unzip();
    let unread = UnreadReplies::new(connector.clone(), &config.reply_prefix, config.reply_ttl);
    let dispatcher = Arc::new(
        Dispatcher::new(
            ACTIONS,
            Arc::clone(&services),
            build::policy(config),
            Turns::new(hashing_turns, config.max_login_wait, Arc::clone(&journal)),
            Arc::clone(&keyring),
            events.clone(),
            Some(unread),
        )
        .await?,
    );
    let control = retry(remedy, async || {
        let operator = Operator {
            services: Arc::clone(&services),
            keyring: Arc::clone(&keyring),
            is_serving: true,
            events: events.clone(),
        };
        Ok(Control::open(workdir.path(), operator)?)
    })
    .await?;
    let run_ids = retry(remedy, async || Ok(workdir.begin_run()?)).await?;
    Ok(Started {
        workdir,
        run_ids,
        store,
        journal,
        left,
        connector,
        publisher_handle,
        dispatcher,
        control,
    })
}

/// Starts a thread for blocking work. It stays (`cli/serve.rs`), so that blocking work waits for it
/// instead of failing if no other thread can be started later.
async fn keep_a_thread() -> Result<()> {
    // tokio panics where it cannot start the first one.
    let started = catch_unwind(|| tokio::task::spawn_blocking(|| ()));
    let Ok(started) = started else {
        bail!("cannot start a thread for blocking work");
    };
    Ok(started.await?)
}

impl Started {
    /// Serves until a signal stops it.
    async fn serve(self, config: &Config, termination: &mut Termination) -> Result<()> {
        let settings = build::queue_settings(
            config,
            self.connector,
            self.workdir.store_id(),
            self.run_ids.clone(),
        );
        let handler = Arc::clone(&self.dispatcher) as Arc<dyn Handler>;
        let worker = Worker::start(settings, handler, self.journal, self.left);
        let sweeper = tokio::spawn(sweeper::sweep(
            Arc::clone(&self.store) as Arc<dyn Store>,
            Arc::new(SystemClock),
            config.session.limits,
        ));
        let informer = tokio::spawn(lifecycle::keep_systemd_informed(worker.status()));
        info!(
            workdir = ?self.workdir.path(),
            redis = config.redis.display(),
            queue = ?config.queue,
            device_id = ?config.device_id,
            "ready"
        );
        lifecycle::notify_ready();

        let mut status = worker.status();
        tokio::select! {
            () = termination.requested() => {}
            store = foreign_store(&mut status) => {
                self.workdir.forget_run(&self.run_ids)?;
                bail!(
                    "the store {store} already serves the queue {:?}: two daemons with databases of their \
                     own would split the users at random. Stop the other one (its ownership ends {} s \
                     after it), or give this one another queue",
                    config.queue,
                    queue::OWNER_TTL.as_secs()
                )
            }
        }
        lifecycle::notify_stopping();
        let deadline = Instant::now() + config.shutdown_timeout;
        self.dispatcher.stop_starting();
        let wind_down = async {
            let stopped = async { tokio::join!(worker.stop(), self.control.close()) };
            if timeout_at(deadline, stopped).await.is_err() {
                warn!("some requests were not acknowledged in time; the next start recovers them");
            }
            // Last, because requests that ended until now publish events.
            if let Some(publisher_handle) = self.publisher_handle {
                let left = deadline.saturating_duration_since(Instant::now());
                publisher_handle.stop(left).await;
            }
        };
        tokio::select! {
            () = wind_down => {}
            () = termination.interrupted() => {
                self.dispatcher.flush_log();
                lifecycle::end_at_once()
            }
        }
        sweeper.abort();
        informer.abort();
        self.dispatcher.flush_log();
        info!("stopped");
        Ok(())
    }
}

/// Returns how often the watchdog checks: often enough to act soon after the limit.
fn check_interval(limit: Duration) -> Duration {
    (limit / 4).clamp(Duration::from_millis(50), Duration::from_secs(1))
}

/// Resolves if another store owned the queue from the beginning.
async fn foreign_store(status: &mut watch::Receiver<Status>) -> String {
    let foreign = status
        .wait_for(|status| matches!(status, Status::Foreign(_)))
        .await
        .map(|status| status.clone());
    match foreign {
        Ok(Status::Foreign(store)) => store,
        _ => std::future::pending().await,
    }
}
