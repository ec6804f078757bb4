//! Thread pool for password hashes: a fixed number of threads at a lower priority than everything
//! else, each with its own work memory, which it frees when it is idle.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use argon2::Params;
use crossbeam_channel::RecvTimeoutError;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::oneshot;

use super::equalizer::Equalizer;
use super::password::{self, Cost, Memory};
use crate::error::Error;
use crate::model::PasswordRecord;
use crate::priority;
use crate::random::NoRandomness;

/// Time after which an idle thread frees its work memory.
const KEEP_MEMORY: Duration = Duration::from_secs(5);

/// Why a password could not be hashed or checked. It does not depend on the password.
#[derive(Debug, thiserror::Error)]
pub enum HasherError {
    /// The stored record is malformed, or exceeds the bounds for imported hashes.
    #[error("a stored password record is unreadable: restore a backup, or set a new password")]
    Record,
    /// Argon2 refused its input.
    #[error("argon2: {0}")]
    Argon2(String),
    /// The operating system provides no randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The work memory cannot be allocated.
    #[error("not enough memory for a password hash: lower password.memory_kib or password.threads")]
    OutOfMemory,
    /// A hashing thread panicked.
    #[error("a password hash panicked")]
    Panicked,
    /// A hashing thread cannot be started.
    #[error("cannot start a hashing thread: {0}")]
    Thread(String),
}

impl From<HasherError> for Error {
    fn from(error: HasherError) -> Self {
        Self::Internal(error.to_string())
    }
}

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

/// Hashes and checks passwords outside the async runtime.
pub struct Hasher {
    /// Parameters of new hashes. OWASP's minimum is 19 MiB, two passes, one lane (Password Storage
    /// Cheat Sheet).
    pub(super) parameters: Params,
    equalizer: Arc<Equalizer>,
    jobs: crossbeam_channel::Sender<Job>,
}

impl Hasher {
    /// Starts `threads` hashing threads. They end when the hasher is dropped.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(parameters: Params, threads: NonZeroUsize) -> Result<Self, HasherError> {
        let (jobs, queue) = crossbeam_channel::unbounded::<Job>();
        for number in 0..threads.get() {
            let queue = queue.clone();
            thread::Builder::new()
                .name(format!("hasher-{number}"))
                .spawn(move || work(&queue))
                .map_err(|error| HasherError::Thread(error.to_string()))?;
        }
        Ok(Self {
            equalizer: Arc::new(Equalizer::new(Cost::of(&parameters))),
            parameters,
            jobs,
        })
    }

    /// Hashes a new password with the current parameters and a new salt.
    pub(super) async fn hash(
        &self,
        password: &SecretString,
    ) -> Result<PasswordRecord, HasherError> {
        let parameters = self.parameters.clone();
        let password = password.clone();
        self.run(move |memory| {
            password::hash(&parameters, password.expose_secret().as_bytes(), memory)
        })
        .await
    }

    /// Checks a password against a record. Takes as long as a hash with the current parameters, or
    /// longer if the record costs more.
    pub(super) async fn verify(
        &self,
        password: &SecretString,
        record: &PasswordRecord,
    ) -> Result<bool, HasherError> {
        let (record, password) = (record.clone(), password.clone());
        self.check(move |memory| {
            let secret = password.expose_secret().as_bytes();
            password::verify(secret, &record, memory)
        })
        .await
    }

    /// Returns the index of the imported record that a secret matches. Takes at least as long as a
    /// check at the current cost, even without records.
    pub(super) async fn find(
        &self,
        secret: &SecretString,
        records: Vec<PasswordRecord>,
    ) -> Result<Option<usize>, HasherError> {
        let secret = secret.clone();
        self.check(move |_| {
            let found = password::find(secret.expose_secret().as_bytes(), &records);
            Ok((found, None))
        })
        .await
    }

    /// Runs a check and equalizes its time. The check returns its cost if it used Argon2.
    async fn check<T: Send + 'static>(
        &self,
        check: impl FnOnce(&mut Memory) -> Result<(T, Option<Cost>), HasherError> + Send + 'static,
    ) -> Result<T, HasherError> {
        let equalizer = Arc::clone(&self.equalizer);
        let (result, lacks_times) = self.run(move |memory| equalizer.run(memory, check)).await?;
        if lacks_times {
            let equalizer = Arc::clone(&self.equalizer);
            self.post(Box::new(move |memory| {
                if let Err(error) = equalizer.measure(memory) {
                    tracing::warn!(%error, "cannot measure a password check");
                }
            }))?;
        }
        Ok(result)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> Result<T, HasherError> + Send + 'static,
    ) -> Result<T, HasherError> {
        let (reply, result) = oneshot::channel();
        let job: Job = Box::new(move |memory| {
            // The receiver may be gone: its request was dropped.
            let _ = reply.send(work(memory));
        });
        self.post(job)?;
        result.await.map_err(|_| HasherError::Panicked)?
    }

    fn post(&self, job: Job) -> Result<(), HasherError> {
        self.jobs.send(job).map_err(|_| HasherError::Panicked)
    }
}

fn work(queue: &crossbeam_channel::Receiver<Job>) {
    priority::lower();
    let mut memory = Memory::default();
    loop {
        let mut received = queue.recv_timeout(KEEP_MEMORY);
        if matches!(received, Err(RecvTimeoutError::Timeout)) {
            memory = Memory::default();
            received = queue.recv().map_err(RecvTimeoutError::from);
        }
        let Ok(job) = received else {
            return;
        };
        // A panic drops the job's sender, so the receiver gets an error.
        if catch_unwind(AssertUnwindSafe(|| job(&mut memory))).is_err() {
            memory = Memory::default();
        }
    }
}
