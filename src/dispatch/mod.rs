//! From a message to what becomes of it: decode, judge, find the action, wait
//! for its turn, run it, encode the reply.

mod encoding;
mod fair_queue;
mod policy;
mod turns;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tracing::field::debug as debug_value;
use tracing::{debug, error, info, warn};

use self::encoding::{encode_aside, encode_body, encode_reply, finish};
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
use crate::queue::{
    self, DeliveryContext, Disposition, Finished, Handler, Reply, UnreadReplies, UnreadShare,
};
use crate::services::Services;
use crate::store::StoreError;
use crate::wire::RequestId;
use crate::wire::dead_letter::{self, DeadLetter};
use crate::wire::reply::Address;
use crate::wire::request::{self, Envelope, Refused, Request, Sent};

/// Runs messages.
pub struct Dispatcher {
    actions: &'static [Action],
    services: Arc<Services>,
    policy: Policy,
    turns: Turns,
    keyring: Arc<Keyring>,
    events: Option<Publisher>,
    trail: Trail,
    /// Of lines that any message can cause.
    quota: LogQuota,
    unread: Option<Arc<UnreadReplies>>,
    /// Outcomes that earlier processes left, until their requests are known.
    left_outcomes: Mutex<Vec<DeliveryId>>,
}

/// What a dispatcher is made of.
pub struct Parts {
    /// All actions.
    pub actions: &'static [Action],
    /// What they work with.
    pub services: Arc<Services>,
    /// What requests are judged by.
    pub policy: Policy,
    /// Turns for requests with a cost.
    pub turns: Turns,
    /// Seals outcomes.
    pub keyring: Arc<Keyring>,
    /// Where what happened is told; `None`: nowhere.
    pub events: Option<Publisher>,
    /// Bounds the long replies that nobody has read; `None`: nothing does.
    pub unread: Option<Arc<UnreadReplies>>,
}

/// A request that has been read, without its message.
struct BoundRequest {
    envelope: Envelope,
    /// `user.<action>`, or whatever stands there.
    action: String,
    sent: Sent,
    bound: Result<BoundAction, Error>,
}

/// Why a request got no reply.
enum NotRun {
    /// It had not started: another start may run it.
    Stopping,
    /// Whether it took effect is not known.
    Unknown,
}

impl Dispatcher {
    /// A dispatcher, once the store says what earlier processes left.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn new(parts: Parts) -> Result<Self, StoreError> {
        Ok(Self {
            left_outcomes: Mutex::new(parts.services.store.outcomes().await?),
            actions: parts.actions,
            services: parts.services,
            policy: parts.policy,
            turns: parts.turns,
            keyring: parts.keyring,
            events: parts.events,
            trail: Trail::default(),
            quota: LogQuota::new(|what, count| {
                warn!(what, count, "more of the same within a minute")
            }),
            unread: parts.unread,
        })
    }

    /// Writes what the log was spared: the process is about to stop.
    pub fn flush_log(&self) {
        self.trail.flush();
        self.quota.flush();
    }

    /// Starts no more requests that wait for their turn: they are given back.
    pub fn stop_starting(&self) {
        self.turns.close();
    }

    async fn handle_message(&self, context: &mut DeliveryContext, message: Vec<u8>) -> Disposition {
        let redelivered = context.redelivered;
        let length = message.len();
        let handle = async move {
            let now = self.services.clock.now();
            let read = self.read(context, &message, now);
            // What waits keeps its arguments only: a message may be long.
            drop(message);
            match read {
                Ok(request) => self.handle_request(context, request, now).await,
                Err(refused) => self.refuse(*refused, redelivered),
            }
        };
        match AssertUnwindSafe(handle).catch_unwind().await {
            Ok(disposition) => disposition,
            // Actions have a net of their own: this is a defect in reading the
            // request or writing the reply, and would be one again.
            Err(_) => self.refuse(request::quarantine_unread(length), redelivered),
        }
    }

    /// Reads a message as far as that needs nothing but the message: from here on
    /// it can be answered, and what is wrong with it alone is known.
    fn read(
        &self,
        context: &mut DeliveryContext,
        message: &[u8],
        taken: Timestamp,
    ) -> Result<BoundRequest, Box<Refused>> {
        let mut request = request::decode(message, &self.policy.limits)?;
        context.was_read();
        poison(request.action.as_deref());
        let envelope = std::mem::take(&mut request.envelope);
        let action = request.action.as_deref().unwrap_or_default().to_owned();
        let sent = request.sent;
        // A defect there is one of this request, whose sender is known by now.
        let bound = catch_unwind(AssertUnwindSafe(|| self.bind(request, taken)))
            .unwrap_or_else(|_| Err(Error::Internal("judging a request panicked".into())));
        context.holds(envelope.bytes() + bound.as_ref().map_or(0, |bound| bound.bytes));
        Ok(BoundRequest {
            envelope,
            action,
            sent,
            bound,
        })
    }

    async fn handle_request(
        &self,
        context: &mut DeliveryContext,
        request: BoundRequest,
        taken: Timestamp,
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
        if context.redelivered {
            match self.recorded(&context.id, &address).await {
                Ok(None) => {}
                Ok(Some(disposition)) => {
                    entry.log_recorded();
                    return disposition;
                }
                Err(_) => return Disposition::Unresolved,
            }
        }
        let redelivered = context.redelivered;
        let call = Call::new(
            context.id,
            Arc::clone(&self.keyring),
            encode_body,
            self.events.is_some(),
        );
        let mut turn = None;
        let run = self.run(
            context,
            &call,
            &mut turn,
            request.bound,
            (request.sent, taken),
        );
        let result = match AssertUnwindSafe(run).catch_unwind().await {
            Ok(Ok(result)) => result,
            Ok(Err(NotRun::Stopping)) => return Disposition::Requeue,
            Ok(Err(NotRun::Unknown)) => return Disposition::Unresolved,
            Err(_) => Err(Error::Internal("the action panicked".into())),
        };
        self.log(&entry, &call, &result);
        self.tell(&entry, &call, redelivered);
        let is_error = result.is_err();
        // An error is short: it holds no turn until Redis has taken it.
        let turn = turn.filter(|turn| turn.until_settled && !is_error);
        let is_long = turn.is_some();
        let encoded = if is_long {
            encode_aside(&address, result).await
        } else {
            encode_reply(&address, &result)
        };
        let (encoded, share) = if call.left_outcome() {
            let share = self.count_in_any_case(&address, &encoded).await;
            (encoded, share)
        } else if is_error {
            // As short as what it answers. Counted, it would let who sends nothing
            // but mistakes keep lists from others.
            (encoded, None)
        } else {
            self.count_unread(&address, encoded).await
        };
        let held = turn.map(|turn| Box::new(turn) as Box<dyn Send>);
        finish(&id, encoded, share, call.left_outcome(), held)
    }

    /// Counts a long reply among the unread ones, or puts an error in its place
    /// when they are too many.
    async fn count_unread(
        &self,
        address: &Address<'_>,
        encoded: serde_json::Result<Vec<u8>>,
    ) -> (serde_json::Result<Vec<u8>>, Option<UnreadShare>) {
        let (Some(unread), Ok(bytes)) = (&self.unread, &encoded) else {
            return (encoded, None);
        };
        match unread.count(address.id.name(), bytes.len()).await {
            Ok(share) => (encoded, share),
            Err(wait) => {
                let error = Error::UnreadReplies(wait.as_secs() + 1);
                debug!(id = ?address.id.name(), error = error.name(), "refused");
                (address.failure(error.to_string()), None)
            }
        }
    }

    /// The same for a reply to what had an effect: it is never replaced.
    async fn count_in_any_case(
        &self,
        address: &Address<'_>,
        encoded: &serde_json::Result<Vec<u8>>,
    ) -> Option<UnreadShare> {
        let (Some(unread), Ok(bytes)) = (&self.unread, encoded) else {
            return None;
        };
        let id = address.id.name();
        unread.count_in_any_case(id, bytes.len()).await
    }

    fn log(&self, entry: &Entry<'_>, call: &Call, result: &Result<Output, Error>) {
        self.log_result(entry, result);
        let is_audited = self.find(entry.action).is_ok_and(Action::is_audited);
        if is_audited || result.as_ref().is_err_and(audit::is_authentication_failure) {
            self.trail.log(entry, &call.notes, outcome(result));
        }
    }

    /// Tells what happened, once for each effect: what the store does not know
    /// of may have been told before the request was delivered again.
    fn tell(&self, entry: &Entry<'_>, call: &Call, redelivered: bool) {
        if let Some(publisher) = &self.events
            && let Some((event, by)) = call.notes.take_event()
            && (event.is_on_record() || !redelivered)
        {
            let now = self.services.clock.now();
            publisher.publish(&event, by.as_deref(), entry.origin, now);
        }
    }

    /// The answer that an earlier process left for a delivery.
    async fn recorded(
        &self,
        delivery: &DeliveryId,
        address: &Address<'_>,
    ) -> Result<Option<Disposition>, StoreError> {
        let _lease = self.keyring.lease();
        let Some(sealed) = self.services.store.outcome(delivery).await? else {
            return Ok(None);
        };
        debug!(id = ?address.id.name(), "had its effect before: answered from its outcome");
        let body = self
            .keyring
            .open_sealed(&delivery.outcome_context(), &sealed);
        let encoded = match body {
            Some(body) => address.recorded(&body),
            None => {
                error!(id = ?address.id.name(), "an outcome cannot be opened");
                address.failure("The request had its effect, but its reply is lost".into())
            }
        };
        let share = self.count_in_any_case(address, &encoded).await;
        Ok(Some(finish(address.id, encoded, share, true, None)))
    }

    /// Runs a request that was taken at that time.
    async fn run(
        &self,
        context: &mut DeliveryContext,
        call: &Call,
        turn: &mut Option<Turn>,
        bound: Result<BoundAction, Error>,
        (sent, taken): (Sent, Timestamp),
    ) -> Result<Result<Output, Error>, NotRun> {
        let action = match bound {
            Ok(bound) => bound.run,
            Err(error) => return Ok(Err(error)),
        };
        // A request whose sender has given up takes no place in line.
        if let Err(error) = self.policy.check_age(sent, taken, taken) {
            return Ok(Err(error));
        }
        let cost = match action.cost() {
            Cost::Depends => match action.cost_now(&self.services).await {
                Ok(cost) => cost,
                Err(Error::Store(StoreError::Stopped)) => return Err(NotRun::Unknown),
                Err(error) => return Ok(Err(error)),
            },
            cost => cost,
        };
        let name = || {
            let credentials = &self.services.credentials;
            credentials.name_hash(action.turn_name())
        };
        *turn = match self.turns.wait(cost, name, context).await {
            Ok(turn) => turn,
            Err(NoTurn::Closed) => return Err(NotRun::Stopping),
            Err(NoTurn::Busy(seconds)) => {
                call.notes.refusal(Some("busy"));
                return Ok(action.refused(Error::Busy(seconds)));
            }
        };
        // Judged again when the work would start: a request that waited too long is
        // one whose sender has given up.
        let now = self.services.clock.now();
        if let Err(error) = self.policy.check_age(sent, taken, now) {
            return Ok(Err(error));
        }
        // Not before its turn: a rotation of keys waits for it.
        let _lease = self.keyring.lease();
        let result = action.run(&self.services, call).await;
        if let Some(turn) = turn
            && (cost != Cost::Hash || call.has_hashed())
        {
            turn.did_its_work();
        }
        match result {
            Err(Error::Store(StoreError::Stopped)) => Err(NotRun::Unknown),
            result => Ok(result),
        }
    }

    /// Judges a request by itself, and binds its arguments to the action it names.
    fn bind(&self, request: Request<'_>, now: Timestamp) -> Result<BoundAction, Error> {
        self.policy.admit(&request, now)?;
        let action = self.resolve(&request)?;
        action.bind(request.args, &self.services.limits)
    }

    fn resolve(&self, request: &Request<'_>) -> Result<&'static Action, Error> {
        let full = request
            .action
            .as_deref()
            .filter(|action| !action.is_empty())
            .ok_or(Error::NoAction)?;
        self.find(full)
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

    fn refuse(&self, refused: Refused, left_outcome: bool) -> Disposition {
        let reason = refused.dead_letter.reason.clone();
        let Ok(bytes) = refused.dead_letter.encode(self.services.clock.now()) else {
            return Disposition::Unresolved;
        };
        let reply = refused
            .reply_to
            .and_then(|envelope| self.error_reply(&envelope, reason.clone()));
        Disposition::Finished(Finished {
            reply,
            dead_letter: Some(queue::DeadLetter { reason, bytes }),
            left_outcome,
            held: None,
        })
    }

    /// An error reply to a request that is not run, if its id can be used.
    fn error_reply(&self, envelope: &Envelope, error: String) -> Option<Reply> {
        let id = envelope.id.as_ref()?;
        let address = self.address(id, envelope.origin.as_deref());
        Some(Reply::new(id.name(), address.failure(error).ok()?))
    }

    /// An id for a request that brings none. `None` only without randomness.
    fn generate_id(&self, origin: Option<&str>) -> Option<RequestId> {
        match RequestId::generate() {
            Ok(id) => {
                if self.quota.admits("a request without a usable id") {
                    info!(id = %id.name(), ?origin, "a request without a usable id: the reply goes to this one");
                }
                Some(id)
            }
            Err(error) => {
                error!(%error, "no randomness for a request id");
                None
            }
        }
    }

    /// One line for each request, for whoever looks for a fault. Errors about
    /// arguments may quote them: they are for the caller alone.
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

#[async_trait]
impl Handler for Dispatcher {
    async fn handle(
        self: Arc<Self>,
        context: &mut DeliveryContext,
        message: Vec<u8>,
    ) -> Disposition {
        self.handle_message(context, message).await
    }

    async fn quarantine(&self, id: &DeliveryId, message: &[u8], unread: bool) -> Disposition {
        // What had its effect is answered from that, which runs nothing.
        if matches!(self.services.store.outcome(id).await, Ok(Some(_))) {
            let context = &mut DeliveryContext::new(*id, true);
            return self.handle_message(context, message.to_vec()).await;
        }
        let refused = if unread {
            request::quarantine_unread(message.len())
        } else {
            request::quarantine(message, &self.policy.limits)
        };
        self.refuse(refused, false)
    }

    fn taken_over(&self, open: &HashSet<DeliveryId>) {
        let mut left = self
            .left_outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let orphaned: Vec<_> = left.drain(..).filter(|id| !open.contains(id)).collect();
        if !orphaned.is_empty() {
            debug!(
                count = orphaned.len(),
                "forgetting outcomes nobody asks for"
            );
            self.services.store.forget_outcomes(orphaned);
        }
    }

    fn settled(&self, deliveries: Vec<DeliveryId>) {
        self.services.store.forget_outcomes(deliveries);
    }

    fn over_long_prefix(&self) -> String {
        dead_letter::over_long_prefix(self.services.clock.now())
    }

    fn undeliverable_prefix(&self) -> String {
        dead_letter::undeliverable_prefix(self.services.clock.now())
    }

    fn undeliverable(&self, id: &str) -> Option<queue::DeadLetter> {
        let letter = DeadLetter::undeliverable(id);
        let reason = letter.reason.clone();
        let bytes = letter.encode(self.services.clock.now()).ok()?;
        Some(queue::DeadLetter { reason, bytes })
    }
}
