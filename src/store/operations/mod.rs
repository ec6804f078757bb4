//! Operations on rows: the rules of users, sessions, second factors, API tokens and failures, which
//! are the same for every engine.
//!
//! An operation declares what it reads and is a repeatable function from rows to a result and
//! changes: an engine may run it again after a conflict with another process. It does no I/O and
//! asks for no time and no randomness.

pub(super) mod api_tokens;
pub(super) mod failures;
pub(super) mod outcomes;
mod preconditions;
pub(super) mod second_factor;
pub(super) mod sessions;
pub(super) mod users;

use tokio::sync::oneshot;

use super::rows::{Reads, Rows};
use super::{Outcome, Result, StoreError};

/// An operation.
pub trait Operation: Send + 'static {
    /// What it returns.
    type Output: Send + 'static;

    /// Declares what [`Self::apply`] reads.
    fn reads(&self) -> Reads;

    /// Reads and changes rows.
    ///
    /// # Errors
    /// Whatever keeps it from its effect. Its changes are undone then.
    fn apply(&self, rows: &mut Rows) -> Result<Self::Output>;
}

/// An operation on its way through an engine.
pub trait Job: Send {
    /// Declares what it reads.
    fn reads(&self) -> Reads;

    /// Runs the operation and keeps its result, in place of one of an earlier run.
    fn apply(&mut self, rows: &mut Rows);

    /// Keeps an error as its result: its rows could not be loaded.
    fn fail(&mut self, error: StoreError);

    /// Sends the result, or the reason why the group was not written.
    fn finish(self: Box<Self>, refused: Option<StoreError>);
}

/// An operation, what it leaves, and the caller that waits for it.
pub(super) struct Pending<O: Operation> {
    operation: O,
    outcome: Option<Outcome<O::Output>>,
    result: Option<Result<O::Output>>,
    reply: oneshot::Sender<Result<O::Output>>,
}

impl<O: Operation> Pending<O> {
    /// Returns the job of an operation, and its result.
    pub(super) fn new(
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
        // The caller may have gone; the effect stands all the same.
        let _ = self.reply.send(result);
    }
}
