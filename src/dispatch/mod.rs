//! Runs a message: decodes the request, checks it, finds its action, waits for its turn, runs it
//! and encodes the reply.
//!
//! A panic of an action, or in the checks of a request, becomes an error reply; a panic in decoding
//! or encoding becomes a dead letter. A request whose effect is unknown, because the store has
//! stopped, gets no reply: the next start recovers it.

mod encoding;
mod fair_queue;
mod handler;
mod policy;
mod turns;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use tracing::field::debug as debug_value;
use tracing::{debug, error, info, warn};

use self::encoding::{encode_body, encode_on_blocking_thread, encode_reply, finish};
pub use self::policy::Policy;
pub use self::turns::Turns;
use self::turns::{NoTurn, Turn};
use crate::actions::{Action, BoundAction, Call, Cost, Output, PLUGIN};
use crate::audit::{self, Entry, Trail};
use crate::clock::Timestamp;
use crate::crash_point::poison;
use crate::error::{Error, echo};
use crate::events::Publisher;
use crate::keyring::Keyring;
use crate::log_quota::LogQuota;
use crate::model::{DeliveryId, Reason};
use crate::queue::{Delivery, Disposition, UnreadReplies, UnreadShare};
use crate::services::Services;
use crate::store::StoreError;
use crate::wire::RequestId;
use crate::wire::reply::Address;
use crate::wire::request::{self, Envelope, RejectedMessage, Request, Sent};

/// Handler of the messages of a queue.
pub struct Dispatcher {
    actions: &'static [Action],
    services: Arc<Services>,
    policy: Policy,
    turns: Turns,
    keyring: Arc<Keyring>,
    events: Option<Publisher>,
    trail: Trail,
    /// Bounds the log lines that any message can cause.
    quota: LogQuota,
    unread: Option<Arc<UnreadReplies>>,
    /// Outcomes of earlier runs, until recovery has listed the requests that need them.
    earlier_outcomes: Mutex<Vec<DeliveryId>>,
}

/// A decoded request whose arguments are bound, without its message.
struct BoundRequest {
    envelope: Envelope,
    /// The action as the request names it: `user.<action>`, or any other text.
    action: String,
    sent: Sent,
    bound: Result<BoundAction, Error>,
}

/// Why a request has no output.
enum NoOutput {
    /// It failed, or was refused.
    Failed(Error),
    /// The daemon stops before the request has started. A later run may start it.
    Stopping,
    /// The request may or may not have taken effect.
    Unknown,
}

impl From<Error> for NoOutput {
    fn from(error: Error) -> Self {
        match error {
            // The change may be on disk.
            Error::Store(StoreError::Stopped) => Self::Unknown,
            error => Self::Failed(error),
        }
    }
}

impl Dispatcher {
    /// Returns a dispatcher for `actions`.
    ///
    /// It publishes no events without `events`, and does not bound unread long replies without
    /// `unread`. The `keyring` seals outcomes.
    ///
    /// # Errors
    /// When the store fails to list the outcomes of earlier runs.
    pub async fn new(
        actions: &'static [Action],
        services: Arc<Services>,
        policy: Policy,
        turns: Turns,
        keyring: Arc<Keyring>,
        events: Option<Publisher>,
        unread: Option<Arc<UnreadReplies>>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            earlier_outcomes: Mutex::new(services.store.outcomes().await?),
            actions,
            services,
            policy,
            turns,
            keyring,
            events,
            trail: Trail::default(),
            quota: LogQuota::new(|what, count| {
                warn!(what, count, "more of the same within a minute")
            }),
            unread,
        })
    }

    /// Logs the counts of suppressed log lines, before the process stops.
    pub fn flush_log(&self) {
        self.trail.flush();
        self.quota.flush();
    }

    /// Starts no more requests: the requests that wait for a turn are requeued.
    pub fn stop_starting(&self) {
        self.turns.close();
    }

    async fn handle_message(&self, delivery: &mut Delivery, message: Vec<u8>) -> Disposition {
        let redelivered = delivery.redelivered;
        let length = message.len();
        let handle = async move {
            let now = self.services.clock.now();
            let bound = self.decode_and_bind(delivery, &message, now);
            // A request that waits keeps its arguments only, because a message may be long.
            drop(message);
            match bound {
                Ok(request) => self.handle_request(delivery, request, now).await,
                Err(rejected) => self.reject(*rejected, redelivered),
            }
        };
        let handled = AssertUnwindSafe(handle).catch_unwind().await;
        // Panics of actions are caught below: this one comes from decoding the request or encoding
        // the reply, and would occur again.
        handled.unwrap_or_else(|_| self.reject(request::quarantine_undecoded(length), redelivered))
    }

    /// Decodes a message and binds its arguments, without access to the store.
    fn decode_and_bind(
        &self,
        delivery: &mut Delivery,
        message: &[u8],
        received_at: Timestamp,
    ) -> Result<BoundRequest, Box<RejectedMessage>> {
        let mut request = request::decode(message, &self.policy.limits)?;
        delivery.set_decoded();
        poison(request.action.as_deref());
        let envelope = std::mem::take(&mut request.envelope);
        let action = request.action.as_deref().unwrap_or_default().to_owned();
        let sent = request.sent;
        // The sender is known by now, so it gets an error reply for a panic here.
        let bound = catch_unwind(AssertUnwindSafe(|| self.bind(request, received_at)))
            .unwrap_or_else(|_| Err(Error::Internal("checking a request panicked".into())));
        delivery.bytes = envelope.bytes() + bound.as_ref().map_or(0, |bound| bound.bytes);
        Ok(BoundRequest {
            envelope,
            action,
            sent,
            bound,
        })
    }

    async fn handle_request(
        &self,
        delivery: &mut Delivery,
        request: BoundRequest,
        received_at: Timestamp,
    ) -> Disposition {
        let Envelope { id, origin } = request.envelope;
        let Some(id) = id.or_else(|| self.generate_id(origin.as_deref())) else {
            return Disposition::Unresolved;
        };
        let address = self.address(&id, origin.as_deref());
        let entry = Entry {
            id: id.name(),
            origin: origin.as_deref(),
            action: &request.action,
        };
        if delivery.redelivered {
            match self.recorded_reply(&delivery.id, &address).await {
                Ok(None) => {}
                Ok(Some(disposition)) => {
                    entry.log_recorded();
                    return disposition;
                }
                Err(_) => return Disposition::Unresolved,
            }
        }
        let redelivered = delivery.redelivered;
        let call = Call::new(
            delivery.id,
            Arc::clone(&self.keyring),
            encode_body,
            self.events.is_some(),
        );
        let mut turn = None;
        let run = self.run(
            delivery,
            &call,
            &mut turn,
            request.bound,
            (request.sent, received_at),
        );
        let result = match AssertUnwindSafe(run).catch_unwind().await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(NoOutput::Failed(error))) => Err(error),
            Ok(Err(NoOutput::Stopping)) => return Disposition::Requeue,
            Ok(Err(NoOutput::Unknown)) => return Disposition::Unresolved,
            Err(_) => Err(Error::Internal("the action panicked".into())),
        };
        self.log(&entry, &call, &result);
        self.publish_event(&entry, &call, redelivered);
        let is_error = result.is_err();
        // An error reply is short, so its turn ends before the reply is sent.
        let turn = turn.filter(|turn| turn.is_held_until_sent && !is_error);
        let encoded = if turn.is_some() {
            encode_on_blocking_thread(&address, result).await
        } else {
            encode_reply(&address, &result)
        };
        let left_outcome = call.left_outcome();
        let (encoded, share) = if is_error && !left_outcome {
            // Error replies are about as short as their requests. If they counted, a client that
            // sends only faulty requests could keep other clients from long replies.
            (encoded, None)
        } else {
            self.count_unread(&address, encoded, left_outcome).await
        };
        let held = turn.map(|turn| Box::new(turn) as Box<dyn Send>);
        finish(&id, encoded, share, left_outcome, held)
    }

    /// Counts a long reply among the unread ones. When they take too many bytes, replaces it by an
    /// error, unless the request `had_effect`.
    async fn count_unread(
        &self,
        address: &Address<'_>,
        encoded: serde_json::Result<Vec<u8>>,
        had_effect: bool,
    ) -> (serde_json::Result<Vec<u8>>, Option<UnreadShare>) {
        let (Some(unread), Ok(bytes)) = (&self.unread, &encoded) else {
            return (encoded, None);
        };
        let id = address.id.name();
        match unread.count(id, bytes.len(), had_effect).await {
            Ok(share) => (encoded, share),
            Err(wait) => {
                let error = Error::UnreadReplies(wait.as_secs() + 1);
                debug!(?id, error = error.name(), "refused");
                (address.failure(error.to_string()), None)
            }
        }
    }

    fn log(&self, entry: &Entry<'_>, call: &Call, result: &Result<Output, Error>) {
        self.log_result(entry, result);
        let is_audited = self.find(entry.action).is_ok_and(Action::is_audited);
        if is_audited || result.as_ref().is_err_and(audit::is_authentication_failure) {
            self.trail.log(entry, &call.notes, outcome(result));
        }
    }

    /// Publishes the event of a request. A redelivered request publishes only events that are on
    /// record: any other may have been published by an earlier run.
    fn publish_event(&self, entry: &Entry<'_>, call: &Call, redelivered: bool) {
        if let Some(publisher) = &self.events
            && let Some((event, by)) = call.notes.take_event()
            && (event.is_on_record() || !redelivered)
        {
            let now = self.services.clock.now();
            publisher.publish(&event, by.as_deref(), entry.origin, now);
        }
    }

    /// Returns the reply from the recorded outcome of a delivery, if there is one.
    async fn recorded_reply(
        &self,
        id: &DeliveryId,
        address: &Address<'_>,
    ) -> Result<Option<Disposition>, StoreError> {
        let _lease = self.keyring.lease();
        let Some(sealed) = self.services.store.outcome(id).await? else {
            return Ok(None);
        };
        debug!(id = ?address.id.name(), "answered from the recorded outcome");
        let body = self.keyring.open_sealed(&id.outcome_context(), &sealed);
        let encoded = match body {
            Some(body) => address.recorded(&body),
            None => {
                error!(id = ?address.id.name(), "an outcome cannot be opened");
                address.failure("The request had its effect, but its reply is lost".into())
            }
        };
        let (encoded, share) = self.count_unread(address, encoded, true).await;
        Ok(Some(finish(address.id, encoded, share, true, None)))
    }

    /// Runs a request that was fetched at `received_at`.
    async fn run(
        &self,
        delivery: &mut Delivery,
        call: &Call,
        turn: &mut Option<Turn>,
        bound: Result<BoundAction, Error>,
        (sent, received_at): (Sent, Timestamp),
    ) -> Result<Output, NoOutput> {
        let action = bound?.run;
        // A request whose sender has given up does not wait for a turn.
        self.policy.check_age(sent, received_at, received_at)?;
        let (cost, turn_name) = action.turn();
        let cost = match cost {
            Cost::Depends => action.cost_now(&self.services).await?,
            cost => cost,
        };
        let name = || self.services.credentials.name_hash(turn_name);
        *turn = match self.turns.wait(cost, name, delivery).await {
            Ok(turn) => turn,
            Err(NoTurn::Closed) => return Err(NoOutput::Stopping),
            Err(NoTurn::Busy(seconds)) => {
                call.notes.refusal(Some("busy"));
                return action.refused(Error::Busy(seconds)).map_err(Into::into);
            }
        };
        // The age is checked again: the sender may have given up while the request waited.
        let now = self.services.clock.now();
        self.policy.check_age(sent, received_at, now)?;
        // A key rotation waits for this lease, so it begins only with the turn.
        let _lease = self.keyring.lease();
        let result = action.run(&self.services, call).await;
        if let Some(turn) = turn
            && (cost != Cost::Hash || call.has_hashed())
        {
            turn.is_measured = true;
        }
        Ok(result?)
    }

    /// Applies the policy to a request, and binds its arguments to its action.
    fn bind(&self, request: Request<'_>, now: Timestamp) -> Result<BoundAction, Error> {
        self.policy.check(&request, now)?;
        let action = request.action.as_deref().unwrap_or_default();
        if action.is_empty() {
            return Err(Error::NoAction);
        }
        self.find(action)?.bind(request.args, &self.services.limits)
    }

    fn find(&self, full: &str) -> Result<&'static Action, Error> {
        let (plugin, name) = full.rsplit_once('.').unwrap_or((full, ""));
        if plugin != PLUGIN {
            return Err(Error::NoSuchPlugin(echo(plugin)));
        }
        self.actions
            .iter()
            .find(|action| action.signature().name == name)
            .ok_or_else(|| Error::NoSuchAction(echo(full)))
    }

    fn address<'a>(&'a self, id: &'a RequestId, target: Option<&'a str>) -> Address<'a> {
        Address {
            id,
            target,
            origin: &self.policy.device_id,
            now: self.services.clock.now(),
        }
    }

    /// Returns an id for a request without a usable one, or `None` if the operating system gives
    /// no randomness.
    fn generate_id(&self, origin: Option<&str>) -> Option<RequestId> {
        let id = RequestId::generate()
            .inspect_err(|error| error!(%error, "no randomness for a request id"))
            .ok()?;
        if self.quota.admits("a request without a usable id") {
            info!(id = %id.name(), ?origin, "a request without a usable id: the reply goes to this one");
        }
        Some(id)
    }

    /// Logs the result of a request. Errors about arguments are not logged, because they may quote
    /// secrets.
    fn log_result(&self, entry: &Entry<'_>, result: &Result<Output, Error>) {
        let Entry { id, .. } = entry;
        let action = || debug_value(echo(entry.action));
        match result {
            Ok(_) => debug!(?id, action = action(), "done"),
            Err(error @ (Error::Internal(_) | Error::Store(StoreError::Engine(_)))) => {
                if self.quota.admits("a request that failed") {
                    error!(?id, action = action(), %error, "failed");
                }
            }
            Err(Error::Arguments(_)) => {
                debug!(?id, action = action(), "refused: its arguments do not fit");
            }
            Err(error) => debug!(?id, action = action(), error = error.name(), "refused"),
        }
    }
}

/// Returns the outcome of a request as the audit trail names it.
fn outcome(result: &Result<Output, Error>) -> &'static str {
    match result {
        Ok(Output::Flag(false)) => audit::NO_SUCH_SESSION,
        Ok(Output::Detailed(_, reason)) if *reason != Reason::None => reason.name(),
        Ok(output) => output.error().map_or(audit::SUCCESS, Error::name),
        Err(error) => error.name(),
    }
}
