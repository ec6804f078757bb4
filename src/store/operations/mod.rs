//! Operations on rows: the rules of users, sessions, second factors, API tokens and failures,
//! shared by all engines.
//!
//! An operation declares the rows that it reads, and is a repeatable function from rows to a
//! result and changes: an engine may run it again after a conflict with another process. It does
//! no I/O and reads neither the clock nor random numbers.

mod api_tokens;
mod failures;
mod outcomes;
mod preconditions;
mod second_factor;
mod sessions;
mod users;

use tokio::sync::oneshot;

pub use self::api_tokens::*;
pub use self::failures::*;
pub use self::outcomes::*;
pub use self::second_factor::*;
pub use self::sessions::*;
pub use self::users::*;
use super::rows::{Reads, Rows};
use super::{Outcome, Result, StoreError};

/// Repeatable function from rows to a result and changes.
pub trait Operation: Send + 'static {
    /// Result of the operation.
    type Output: Send + 'static;

    /// Declares the rows that [`Self::apply`] reads.
    fn reads(&self) -> Reads;

    /// Reads and changes rows.
    ///
    /// # Errors
    /// If the operation has no effect. Its changes are rolled back.
    fn apply(&self, rows: &mut Rows) -> Result<Self::Output>;
}

/// Operation that an engine runs, with its type erased.
pub trait Job: Send {
    /// Declares the rows that the operation reads.
    fn reads(&self) -> Reads;

    /// Runs the operation and stores its result. A later run replaces the result.
    fn apply(&mut self, rows: &mut Rows);

    /// Stores an error as the result, because the rows could not be loaded.
    fn fail(&mut self, error: StoreError);

    /// Sends the result to the caller, or `refused` if the group was not written.
    fn finish(self: Box<Self>, refused: Option<StoreError>);
}

/// Operation with its outcome, its result and the channel to its caller.
pub(super) struct Pending<O: Operation> {
    operation: O,
    outcome: Option<Outcome<O::Output>>,
    result: Option<Result<O::Output>>,
    reply: oneshot::Sender<Result<O::Output>>,
}

impl<O: Operation> Pending<O> {
    /// Returns the job of an operation, and the receiver of its result.
    pub(super) fn job(
        operation: O,
        outcome: Option<Outcome<O::Output>>,
    ) -> (Box<dyn Job>, oneshot::Receiver<Result<O::Output>>) {
        let (reply, result) = oneshot::channel();
        let job = Box::new(Self {
            operation,
            outcome,
            result: None,
            reply,
        });
        (job, result)
    }

    fn run(&self, rows: &mut Rows) -> Result<O::Output> {
        let result = self.operation.apply(rows)?;
        if let Some(outcome) = &self.outcome
            && rows.has_changes()
        {
            rows.outcomes
                .put(outcome.delivery, (outcome.record)(&result)?);
        }
        Ok(result)
    }
}

impl<O: Operation> Job for Pending<O> {
    fn reads(&self) -> Reads {
        self.operation.reads()
    }

    fn apply(&mut self, rows: &mut Rows) {
        rows.begin();
        let result = self.run(rows);
        if result.is_err() {
            rows.roll_back();
        }
        self.result = Some(result);
    }

    fn fail(&mut self, error: StoreError) {
        self.result = Some(Err(error));
    }

    fn finish(self: Box<Self>, refused: Option<StoreError>) {
        let result = match refused {
            Some(error) => Err(error),
            None => self.result.unwrap_or(Err(StoreError::Stopped)),
        };
        // The caller may have stopped waiting. The effect stays.
        let _ = self.reply.send(result);
    }
}
