//! Threads of their own for Argon2: bounded in number, at a lower priority
//! than everything else, each with its work memory.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::oneshot;

use super::error::HasherError;
use super::password::{self, Argon2Parameters, Memory};
use super::top_up::{TopUp, Work};
use crate::model::PasswordRecord;
use crate::priority;

/// How long an idle thread keeps its work memory.
const KEEP_MEMORY: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

/// Hashes and checks passwords off the async threads.
pub struct Hasher {
    parameters: Argon2Parameters,
    top_up: Arc<TopUp>,
    jobs: crossbeam_channel::Sender<Job>,
}

impl Hasher {
    /// Starts `threads` hashing threads; they end with the last handle.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(parameters: Argon2Parameters, threads: NonZeroUsize) -> Result<Self, HasherError> {
        let (jobs, queue) = crossbeam_channel::unbounded::<Job>();
        for number in 0..threads.get() {
            let queue = queue.clone();
            thread::Builder::new()
                .name(format!("hasher-{number}"))
                .spawn(move || work(&queue))
                .map_err(|error| HasherError::Thread(error.to_string()))?;
        }
        Ok(Self {
            top_up: Arc::new(TopUp::new(parameters.cost())),
            parameters,
            jobs,
        })
    }

    pub(super) const fn parameters(&self) -> &Argon2Parameters {
        &self.parameters
    }

    /// Hashes a new password with today's parameters and a new salt.
    pub(super) async fn hash(
        &self,
        password: &SecretString,
    ) -> Result<PasswordRecord, HasherError> {
        let parameters = self.parameters.clone();
        let password = password.clone();
        self.run(move |memory| parameters.hash(password.expose_secret().as_bytes(), memory))
            .await
    }

    /// Checks a password against a record. It takes as long as a hash with
    /// today's parameters, or longer where the record is dearer.
    pub(super) async fn verify(
        &self,
        password: &SecretString,
        record: &PasswordRecord,
    ) -> Result<bool, HasherError> {
        let (record, password) = (record.clone(), password.clone());
        self.check(move |memory| {
            let secret = password.expose_secret().as_bytes();
            let (right, work) = password::verify(secret, &record, memory)?;
            Ok((right, Some(work)))
        })
        .await
    }

    /// Which of these imported records a secret matches. It takes as long as a
    /// check of one of today's, or longer, also where there are none.
    pub(super) async fn find(
        &self,
        secret: &SecretString,
        records: Vec<PasswordRecord>,
    ) -> Result<Option<usize>, HasherError> {
        let (secret, today) = (secret.clone(), self.parameters.cost());
        self.check(move |memory| {
            let (found, work) = password::find(secret.expose_secret().as_bytes(), &records);
            if let [one] = work[..] {
                return Ok((found, Some(one)));
            }
            // None, or several that may be cheap.
            password::spend(today, memory).map(|()| (found, None))
        })
        .await
    }

    /// Runs a check, which gives the work it has cost where something may be
    /// missing to today's.
    async fn check<T: Send + 'static>(
        &self,
        check: impl FnOnce(&mut Memory) -> Result<(T, Option<Work>), HasherError> + Send + 'static,
    ) -> Result<T, HasherError> {
        let (today, top_up) = (self.parameters.cost(), Arc::clone(&self.top_up));
        let (result, new) = self
            .run(move |memory| {
                // Memory that is touched anew takes time, the more the larger.
                memory.prepare(today)?;
                let (result, work) = check(memory)?;
                let is_new = match work {
                    Some(work) => top_up.spend_missing(work, memory)?,
                    None => false,
                };
                Ok((result, work.filter(|_| is_new)))
            })
            .await?;
        if let Some(work) = new {
            let top_up = Arc::clone(&self.top_up);
            self.post(Box::new(move |memory| {
                if let Err(error) = top_up.measure(work, memory) {
                    tracing::warn!(%error, "cannot measure what cheaper password records lack");
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
            // The asker may have gone.
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
        let job = match queue.recv_timeout(KEEP_MEMORY) {
            Ok(job) => job,
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return,
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                memory = Memory::default();
                match queue.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                }
            }
        };
        // A panic drops the job's reply channel, which tells its asker.
        if catch_unwind(AssertUnwindSafe(|| job(&mut memory))).is_err() {
            memory = Memory::default();
        }
    }
}
