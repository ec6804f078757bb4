//! The composition root: the only place that names a concrete store and
//! queue and puts the rooms together.

use std::num::NonZeroUsize;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use chrono::TimeDelta;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::actions::ACTIONS;
use crate::admin::{AdminCommand, Operator};
use crate::audit::Caller;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::control::{Answer, Control};
use crate::credentials::{Argon2Parameters, Blocklist, Credentials, Hasher, Throttle, Vault};
use crate::dispatch::{Dispatcher, Parts, Policy, Turns};
use crate::events::{Publisher, Publishing};
use crate::keyring::Keyring;
use crate::lifecycle::{self, Termination, retry};
use crate::model::SessionLimits;
use crate::queue::{
    self, CrashJournal, Handler, Keys, LeftEntries, Settings, Status, UnreadReplies, Worker,
};
use crate::redis::Connector;
use crate::remedies::remedy;
use crate::rotation;
use crate::services::{Limits, Services};
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::sweeper;
use crate::wire::request::MessageLimits;
use crate::workdir::{Workdir, WorkdirError};

/// Notes of what is running, in the working directory.
const RUNNING_FILE: &str = "running";

/// Runs the daemon until it is asked to stop.
///
/// # Errors
/// When it cannot start, and waiting does not help. Once it serves, it does
/// not fail: Redis may go and come back.
pub async fn serve(config: &Config) -> Result<()> {
    lifecycle::forbid_core_dumps();
    let mut termination = Termination::listen().context("cannot listen for signals")?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let started = tokio::select! {
        biased;
        () = termination.asked() => {
            info!("stopped before the start");
            return Ok(());
        }
        started = start(config) => started?,
    };
    started.serve(config, &mut termination).await
}

/// A daemon that has all its files open.
struct Started {
    workdir: Workdir,
    runs: Vec<[u8; 16]>,
    store: Arc<SledStore>,
    running: Arc<CrashJournal>,
    left: LeftEntries,
    connector: Connector,
    publishing: Option<Publishing>,
    dispatcher: Arc<Dispatcher>,
    control: Control,
}

/// Opens what the daemon works with. What is in the way and may go away by
/// itself, such as a full disk, is waited for: nothing that has been opened by
/// then is opened again.
async fn start(config: &Config) -> Result<Started> {
    let workdir = retry(remedy, async || Ok(Workdir::open(&config.workdir)?)).await?;
    let store = retry(remedy, async || {
        Ok(Arc::new(SledStore::open(workdir.path())?))
    })
    .await?;
    keep_a_thread().await?;
    let progress = store.progress();
    let write_timeout = config.write_timeout;
    lifecycle::watch_for_trouble(check_interval(write_timeout), move || {
        progress.trouble(write_timeout)
    })
    .context("cannot start the watchdog")?;

    let (keyring, vault) = retry(remedy, async || {
        open_keys(config, workdir.path(), &*store).await
    })
    .await?;
    retry(remedy, async || {
        Ok(rotation::finish_rotation(&keyring, &*store).await?)
    })
    .await?;
    let blocklist = retry(remedy, async || blocklist(config)).await?;
    let services = Arc::new(services(
        config,
        Arc::clone(&store) as Arc<dyn Store>,
        vault,
        blocklist,
    )?);
    let hashing_turns = hashing_turns(config);
    let (running, left) =
        retry(remedy, async || open_running(workdir.path(), hashing_turns)).await?;
    let connector = retry(remedy, async || Ok(Connector::new(&config.redis)?)).await?;
    let (events, publishing) = Publisher::start(connector.clone(), &config.publish).unzip();
    let unread = UnreadReplies::new(connector.clone(), &config.reply_prefix, config.reply_ttl);
    let dispatcher = Arc::new(
        Dispatcher::new(Parts {
            actions: ACTIONS,
            services: Arc::clone(&services),
            policy: policy(config)?,
            turns: Turns::new(hashing_turns, config.max_login_wait, Arc::clone(&running)),
            keyring: Arc::clone(&keyring),
            events: events.clone(),
            unread: Some(unread),
        })
        .await?,
    );
    let control = retry(remedy, async || {
        let (services, keyring) = (Arc::clone(&services), Arc::clone(&keyring));
        let operator = Operator::in_daemon(services, keyring, events.clone());
        Ok(Control::open(workdir.path(), operator)?)
    })
    .await?;
    let runs = retry(remedy, async || Ok(workdir.begin_run()?)).await?;
    Ok(Started {
        workdir,
        runs,
        store,
        running,
        left,
        connector,
        publishing,
        dispatcher,
        control,
    })
}

/// Starts a thread for what takes long, which stays (`cli/serve.rs`): where no
/// other one can be started later, work waits for it instead of failing.
async fn keep_a_thread() -> Result<()> {
    // tokio panics where it cannot start the first one.
    let started = catch_unwind(|| tokio::task::spawn_blocking(|| ()));
    let Ok(started) = started else {
        bail!("cannot start a thread for what takes long");
    };
    Ok(started.await?)
}

fn open_running(workdir: &Path, turns: usize) -> Result<(Arc<CrashJournal>, LeftEntries)> {
    let path = workdir.join(RUNNING_FILE);
    let opened = CrashJournal::open(&path, Turns::count(turns));
    Ok(opened.map_err(|error| WorkdirError::Io { path, error })?)
}

impl Started {
    /// Serves until it is asked to stop.
    async fn serve(self, config: &Config, termination: &mut Termination) -> Result<()> {
        let Self {
            workdir,
            runs,
            store,
            running,
            left,
            connector,
            publishing,
            dispatcher,
            control,
        } = self;
        let settings = settings(config, connector, workdir.store_id(), runs.clone());
        let handler = Arc::clone(&dispatcher) as Arc<dyn Handler>;
        let worker = Worker::start(settings, handler, running, left);
        let sweeper = tokio::spawn(sweeper::sweep(
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::new(SystemClock),
            session_limits(config)?,
        ));
        let informer = tokio::spawn(lifecycle::keep_systemd_informed(worker.status()));
        info!(
            workdir = ?workdir.path(),
            redis = config.redis.display(),
            queue = ?config.queue,
            device_id = ?config.device_id,
            "ready"
        );
        lifecycle::notify_ready();

        let mut status = worker.status();
        tokio::select! {
            () = termination.asked() => {}
            store = foreign_store(&mut status) => {
                workdir.forget_run(&runs)?;
                bail!(
                    "the store {store} works on the queue {:?} already: two daemons with databases of \
                     their own would split the users at random. Stop the other one (its claim ends {} s \
                     after it), or give this one another queue",
                    config.queue,
                    queue::OWNER_TTL.as_secs()
                )
            }
        }
        lifecycle::notify_stopping();
        let deadline = Instant::now() + config.shutdown_timeout;
        dispatcher.stop_starting();
        let wind_down = async {
            let settled = async { tokio::join!(worker.stop(), control.close()) };
            if timeout_at(deadline, settled).await.is_err() {
                warn!("not everything was settled in time; the next start goes on with it");
            }
            // Last, because what was finished until now is to be told.
            if let Some(publishing) = publishing {
                let left = deadline.saturating_duration_since(Instant::now());
                publishing.stop(left).await;
            }
        };
        tokio::select! {
            () = wind_down => {}
            () = termination.hurried() => {
                dispatcher.flush_log();
                lifecycle::end_at_once()
            }
        }
        sweeper.abort();
        informer.abort();
        dispatcher.flush_log();
        info!("stopped");
        Ok(())
    }
}

/// The operator at the store itself, while no daemon has it.
pub struct Administration {
    operator: Operator,
    _workdir: Workdir,
}

impl Administration {
    /// Opens the store.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn open(config: &Config) -> Result<Self> {
        let workdir = Workdir::open(&config.workdir)?;
        let store: Arc<dyn Store> = Arc::new(SledStore::open(workdir.path())?);
        let (keyring, vault) = open_keys(config, workdir.path(), &*store).await?;
        let services = services(config, store, vault, blocklist(config)?)?;
        Ok(Self {
            operator: Operator::alone(Arc::new(services), keyring),
            _workdir: workdir,
        })
    }

    /// Carries out a command; `by` says who asked for it.
    pub async fn run(&self, command: AdminCommand, by: &Caller) -> Answer {
        let result = self.operator.run(command, by).await;
        result.map_err(|error| error.to_string())
    }
}

/// Often enough that the watchdog bites soon after the limit.
fn check_interval(limit: Duration) -> Duration {
    (limit / 4).clamp(Duration::from_millis(50), Duration::from_secs(1))
}

/// Resolves if the queue was another store's from the beginning.
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

/// The keys, held against what was sealed with them when the store was first
/// used.
async fn open_keys(
    config: &Config,
    workdir: &Path,
    store: &dyn Store,
) -> Result<(Arc<Keyring>, Vault)> {
    let path = config
        .secret_keys_file
        .clone()
        .unwrap_or_else(|| Keyring::default_path(workdir));
    let sealed = store.hash_key().await?;
    let keyring = Arc::new(Keyring::open(path, sealed.is_none())?);
    let sealed = match sealed {
        Some(sealed) => sealed,
        None => {
            let sealed = Vault::new_hash_key(&keyring)?;
            store.set_hash_key(sealed.clone()).await?;
            sealed
        }
    };
    let vault = Vault::open(Arc::clone(&keyring), &sealed).ok_or_else(|| keyring.wrong())?;
    Ok((keyring, vault))
}

/// Twice the hashing threads: one request hashes while another waits for the
/// disk.
const fn hashing_turns(config: &Config) -> usize {
    config.password.threads.saturating_mul(2)
}

fn services(
    config: &Config,
    store: Arc<dyn Store>,
    vault: Vault,
    blocklist: Option<Arc<Blocklist>>,
) -> Result<Services> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let password = &config.password;
    let parameters = Argon2Parameters::new(
        password.memory_kib,
        password.iterations,
        password.parallelism,
    )?;
    let threads = NonZeroUsize::new(password.threads).unwrap_or(NonZeroUsize::MIN);
    let hasher = Hasher::start(parameters, threads)?;
    Ok(Services {
        credentials: Credentials::new(
            Arc::clone(&store),
            hasher,
            vault,
            Throttle::new(config.throttle.failures),
            Arc::clone(&clock),
            session_limits(config)?,
        )?,
        store,
        clock,
        issuer: format!("platypush@{}", config.device_id),
        revoke_on_password_change: config.session.revoke_on_password_change,
        limits: Limits {
            max_username_length: config.max_username_length,
            min_password_length: password.min_length,
            max_password_length: password.max_length,
            blocklist,
        },
    })
}

fn blocklist(config: &Config) -> Result<Option<Arc<Blocklist>>> {
    let Some(file) = &config.password.blocklist_file else {
        return Ok(None);
    };
    let list = Blocklist::read(file)?;
    info!(passwords = list.len(), "read the list of refused passwords");
    Ok(Some(Arc::new(list)))
}

fn session_limits(config: &Config) -> Result<SessionLimits> {
    let limit = |duration: Option<Duration>| duration.map(TimeDelta::from_std).transpose();
    Ok(SessionLimits {
        max_lifetime: limit(config.session.max_lifetime)?,
        idle_timeout: limit(config.session.idle_timeout)?,
    })
}

fn policy(config: &Config) -> Result<Policy> {
    Ok(Policy {
        device_id: config.device_id.clone(),
        accept_any_target: config.accept_any_target,
        token_hash: config.token_hash.as_ref().map(token_hash).transpose()?,
        max_request_age: config.max_request_age,
        limits: MessageLimits {
            max_message_size: config.max_message_size,
            max_id_length: config.max_id_length,
        },
    })
}

fn token_hash(hex: &SecretString) -> Result<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(hex.expose_secret(), &mut hash).context("token_hash is not a SHA-256")?;
    Ok(hash)
}

fn settings(
    config: &Config,
    connector: Connector,
    store_id: &str,
    runs: Vec<[u8; 16]>,
) -> Settings {
    Settings {
        connector,
        keys: Keys::new(&config.queue, &config.reply_prefix, store_id, runs),
        reply_ttl: config.reply_ttl,
        max_in_flight: config.max_in_flight,
        max_message_size: config.max_message_size,
    }
}
