//! The composition root: the only place that names a concrete store and
//! queue and puts the rooms together.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use secrecy::{ExposeSecret as _, SecretString};
use tracing::{debug, info, warn};

use crate::actions::{ACTIONS, Limits, World};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::credentials::{Argon2Parameters, Credentials, Hasher};
use crate::dispatch::{Dispatcher, Policy};
use crate::lifecycle::{self, Termination};
use crate::queue::{Connector, Handler, Keys, Settings, Worker};
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::wire::request::MessageLimits;
use crate::workdir::{Workdir, random_id};

/// Sessions looked at in one sweeping step.
const SWEEP_STEP: usize = 256;
/// Pause between two steps: sweeping must not be felt.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Pause between two passes over all sessions. A dead session authenticates
/// nobody even before it is swept; this is about room alone.
const SWEEP_REST: Duration = Duration::from_secs(60);

/// Runs the daemon until it is asked to stop.
///
/// # Errors
/// When it cannot start. Once it serves, it does not fail: Redis may go and
/// come back.
pub async fn serve(config: &Config) -> Result<()> {
    let mut termination = Termination::listen().context("cannot listen for signals")?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let workdir = Workdir::open(&config.workdir)?;
    let store = Arc::new(SledStore::open(workdir.path())?);
    let progress = store.progress();
    let write_timeout = config.write_timeout;
    lifecycle::watch_for_trouble(check_interval(write_timeout), move || {
        progress.trouble(write_timeout)
    })
    .context("cannot start the watchdog")?;

    let dispatcher = Arc::new(dispatcher(config, Arc::clone(&store) as Arc<dyn Store>)?);
    let settings = settings(config, workdir.store_id())?;
    let worker = Worker::start(settings, Arc::clone(&dispatcher) as Arc<dyn Handler>);
    let sweeper = tokio::spawn(sweep(Arc::clone(&store) as Arc<dyn Store>));
    let informer = tokio::spawn(lifecycle::keep_systemd_informed(worker.status()));
    info!(
        workdir = ?workdir.path(),
        redis = config.redis.display(),
        queue = ?config.queue,
        device_id = ?config.device_id,
        "ready"
    );
    lifecycle::notify_ready();

    termination.asked().await;
    lifecycle::notify_stopping();
    dispatcher.stop_starting();
    if tokio::time::timeout(config.shutdown_timeout, worker.stop())
        .await
        .is_err()
    {
        warn!("not everything was settled in time; the next start goes on with it");
    }
    sweeper.abort();
    informer.abort();
    info!("stopped");
    Ok(())
}

/// Often enough that the watchdog bites soon after the limit.
fn check_interval(limit: Duration) -> Duration {
    (limit / 4).clamp(Duration::from_millis(50), Duration::from_secs(1))
}

fn dispatcher(config: &Config, store: Arc<dyn Store>) -> Result<Dispatcher> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let password = &config.password;
    let parameters = Argon2Parameters::new(
        password.memory_kib,
        password.iterations,
        password.parallelism,
    )?;
    let threads = NonZeroUsize::new(password.threads).unwrap_or(NonZeroUsize::MIN);
    let hasher = Hasher::start(parameters, threads)?;
    let world = World {
        credentials: Credentials::new(Arc::clone(&store), hasher, Arc::clone(&clock))?,
        store,
        clock,
        limits: Limits {
            max_username_length: config.max_username_length,
            min_password_length: password.min_length,
            max_password_length: password.max_length,
        },
    };
    let policy = Policy {
        device_id: config.device_id.clone(),
        accept_any_target: config.accept_any_target,
        token_hash: config.token_hash.as_ref().map(token_hash).transpose()?,
        max_request_age: config.max_request_age,
        limits: MessageLimits {
            max_message_size: config.max_message_size,
            max_id_length: config.max_id_length,
        },
    };
    // Twice the threads: one request hashes while another waits for the disk.
    Ok(Dispatcher::new(
        ACTIONS,
        world,
        policy,
        threads.get().saturating_mul(2),
    ))
}

fn token_hash(hex: &SecretString) -> Result<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(hex.expose_secret(), &mut hash).context("token_hash is not a SHA-256")?;
    Ok(hash)
}

fn settings(config: &Config, store_id: &str) -> Result<Settings> {
    let boot_id = random_id().context("cannot draw an id for this run")?;
    Ok(Settings {
        connector: Connector::new(&config.redis)?,
        keys: Keys::new(&config.queue, &config.reply_prefix, store_id, &boot_id),
        reply_ttl: config.reply_ttl,
        max_in_flight: config.max_in_flight,
        max_message_size: config.max_message_size,
    })
}

/// Removes dead sessions for as long as the daemon runs.
async fn sweep(store: Arc<dyn Store>) {
    let mut after = None;
    loop {
        match store
            .sweep_sessions(after, SWEEP_STEP, SystemClock.now())
            .await
        {
            Ok(step) => {
                if step.removed > 0 {
                    debug!(removed = step.removed, "swept dead sessions");
                }
                after = step.next;
            }
            Err(error) => {
                warn!(%error, "sweeping dead sessions failed");
                after = None;
            }
        }
        tokio::time::sleep(if after.is_some() {
            SWEEP_PAUSE
        } else {
            SWEEP_REST
        })
        .await;
    }
}
