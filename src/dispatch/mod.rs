//! From a message to what becomes of it: decode, judge, find the action, wait
//! for its turn, run it, encode the reply.

mod policy;
mod turns;

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tracing::{debug, error, info};

pub use self::policy::Policy;
use self::turns::Turn;
pub use self::turns::Turns;
use crate::actions::{Action, Arguments, Call, Output, PLUGIN, World, outcome_context};
use crate::audit::{self, Entry};
use crate::crash_point::poison;
use crate::error::{Error, echo};
use crate::keyring::Keyring;
use crate::model::DeliveryId;
use crate::queue::{self, Begun, Disposition, Finished, Handler, Reply};
use crate::store::StoreError;
use crate::wire::RequestId;
use crate::wire::dead_letter::{self, DeadLetter};
use crate::wire::reply::{self, Address};
use crate::wire::request::{self, Envelope, Refused, Request};

/// Runs messages.
pub struct Dispatcher {
    actions: &'static [&'static dyn Action],
    world: Arc<World>,
    policy: Policy,
    turns: Turns,
    keyring: Arc<Keyring>,
    /// Outcomes that earlier processes left, until their requests are known.
    left_outcomes: Mutex<Vec<DeliveryId>>,
}

/// What a dispatcher is made of.
pub struct Parts {
    /// All actions.
    pub actions: &'static [&'static dyn Action],
    /// What they work with.
    pub world: Arc<World>,
    /// What requests are judged by.
    pub policy: Policy,
    /// Turns for requests with a cost.
    pub turns: Turns,
    /// Seals outcomes.
    pub keyring: Arc<Keyring>,
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
            left_outcomes: Mutex::new(parts.world.store.outcomes().await?),
            actions: parts.actions,
            world: parts.world,
            policy: parts.policy,
            turns: parts.turns,
            keyring: parts.keyring,
        })
    }

    /// Starts no more requests that wait for their turn: they are given back.
    pub fn stop_starting(&self) {
        self.turns.close();
    }

    async fn handle_request(&self, begun: Begun, request: Request) -> Disposition {
        let Some((id, origin)) = identify(&request.envelope) else {
            return Disposition::Keep;
        };
        let address = self.address(&id, origin.as_deref());
        let action = echo(request.action.as_deref().unwrap_or_default());
        let entry = Entry {
            id: id.name(),
            origin: origin.as_deref(),
            action: &action,
        };
        if begun.redelivered {
            match self.recorded(&begun.id, &address).await {
                Ok(None) => {}
                Ok(Some(disposition)) => {
                    entry.log_recorded();
                    return disposition;
                }
                Err(_) => return Disposition::Keep,
            }
        }
        let call = Call::new(begun.id, Arc::clone(&self.keyring), encode_body);
        let mut turn = None;
        let run = self.run(begun, &call, &mut turn, request);
        let result = match AssertUnwindSafe(run).catch_unwind().await {
            Ok(Ok(result)) => result,
            Ok(Err(NotRun::Stopping)) => return Disposition::GiveBack,
            Ok(Err(NotRun::Unknown)) => return Disposition::Keep,
            Err(_) => Err(Error::Internal("the action panicked".into())),
        };
        self.log(&entry, &call, &result);
        let encoded = match &result {
            Ok(output) => address.success(output, &errors_beside(output)),
            Err(error) => address.failure(public_text(error, &id)),
        };
        let held = turn.filter(|turn| turn.until_settled);
        let held = held.map(|turn| Box::new(turn) as Box<dyn Send>);
        finish(&id, encoded, call.left_outcome(), held)
    }

    fn log(&self, entry: &Entry<'_>, call: &Call, result: &Result<Output, Error>) {
        log_result(entry, result);
        let is_audited = self.find(entry.action).is_ok_and(Action::is_audited);
        if is_audited || result.as_ref().is_err_and(audit::is_authentication_failure) {
            entry.log(&call.notes, result);
        }
    }

    /// The answer that an earlier process left for a delivery.
    async fn recorded(
        &self,
        delivery: &DeliveryId,
        address: &Address<'_>,
    ) -> Result<Option<Disposition>, StoreError> {
        let _lease = self.keyring.lease();
        let Some(sealed) = self.world.store.outcome(delivery).await? else {
            return Ok(None);
        };
        debug!(id = ?address.id.name(), "had its effect before: answered from its outcome");
        let body = self
            .keyring
            .open_sealed(&outcome_context(delivery), &sealed);
        let encoded = match body {
            Some(body) => address.recorded(&body),
            None => {
                error!(id = ?address.id.name(), "an outcome cannot be opened");
                address.failure("The request had its effect, but its reply is lost".into())
            }
        };
        Ok(Some(finish(address.id, encoded, true, None)))
    }

    async fn run(
        &self,
        mut begun: Begun,
        call: &Call,
        turn: &mut Option<Turn>,
        request: Request,
    ) -> Result<Result<Output, Error>, NotRun> {
        let (action, arguments) = match self
            .policy
            .admit(&request)
            .and_then(|()| self.resolve(&request))
        {
            Ok(action) => match Arguments::bind(action.signature(), request.args) {
                Ok(arguments) => (action, arguments),
                Err(error) => return Ok(Err(error)),
            },
            Err(error) => return Ok(Err(error)),
        };
        let cost = action.cost(&arguments);
        *turn = self
            .turns
            .wait(cost, &mut begun)
            .await
            .map_err(|_| NotRun::Stopping)?;
        // Judged when the work would start: a request that waited too long is
        // one whose sender has given up.
        let now = self.world.clock.now();
        if let Err(error) = self.policy.check_age(request.timestamp, now) {
            return Ok(Err(error));
        }
        // Not before its turn: a rotation of keys waits for it.
        let _lease = self.keyring.lease();
        match action.run(&self.world, call, arguments).await {
            Err(Error::Store(StoreError::Stopped)) => Err(NotRun::Unknown),
            result => Ok(result),
        }
    }

    fn resolve(&self, request: &Request) -> Result<&'static dyn Action, Error> {
        let full = request
            .action
            .as_deref()
            .filter(|action| !action.is_empty())
            .ok_or(Error::NoAction)?;
        self.find(full)
    }

    fn find(&self, full: &str) -> Result<&'static dyn Action, Error> {
        let (plugin, name) = full.rsplit_once('.').unwrap_or((full, ""));
        if plugin != PLUGIN {
            return Err(Error::NoSuchPlugin(echo(plugin)));
        }
        self.actions
            .iter()
            .find(|action| action.signature().name == name)
            .copied()
            .ok_or_else(|| Error::NoSuchAction(echo(full)))
    }

    fn address<'a>(&'a self, id: &'a RequestId, target: Option<&'a str>) -> Address<'a> {
        Address {
            id,
            target,
            origin: &self.policy.device_id,
            now: self.world.clock.now(),
        }
    }

    fn refuse(&self, refused: Refused, left_outcome: bool) -> Disposition {
        let reason = refused.dead_letter.reason.clone();
        let Ok(bytes) = refused.dead_letter.encode(self.world.clock.now()) else {
            return Disposition::Keep;
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
        Some(Reply {
            id: id.name().to_owned(),
            bytes: address.failure(error).ok()?,
        })
    }
}

/// What becomes of a request with this reply.
fn finish(
    id: &RequestId,
    encoded: serde_json::Result<Vec<u8>>,
    left_outcome: bool,
    held: Option<Box<dyn Send>>,
) -> Disposition {
    match encoded {
        Ok(bytes) => Disposition::Finished(Finished {
            reply: Some(Reply {
                id: id.name().to_owned(),
                bytes,
            }),
            dead_letter: None,
            left_outcome,
            held,
        }),
        Err(error) => {
            error!(id = ?id.name(), %error, "a reply could not be encoded");
            Disposition::Keep
        }
    }
}

/// One line for each request, for whoever looks for a fault. Errors about arguments may quote them: they are
/// for the caller alone.
fn log_result(entry: &Entry<'_>, result: &Result<Output, Error>) {
    let Entry { id, action, .. } = entry;
    match result {
        Ok(_) => debug!(?id, ?action, "done"),
        Err(error @ (Error::Internal(_) | Error::Store(StoreError::Engine(_)))) => {
            error!(?id, ?action, %error, "failed");
        }
        Err(Error::Arguments(_)) => debug!(?id, ?action, "refused: its arguments do not fit"),
        Err(error) => debug!(?id, ?action, error = error.name(), "refused"),
    }
}

/// The body of a reply, for its outcome. Only errors that the contract names
/// are ever recorded.
fn encode_body(result: &Result<Output, Error>) -> Vec<u8> {
    let body = match result {
        Ok(output) => reply::body(Some(output), &errors_beside(output)),
        Err(error) => reply::body(None::<&Output>, &[error.to_string()]),
    };
    body.unwrap_or_default()
}

fn errors_beside(output: &Output) -> Vec<String> {
    output
        .error()
        .map(ToString::to_string)
        .into_iter()
        .collect()
}

#[async_trait]
impl Handler for Dispatcher {
    async fn handle(&self, mut begun: Begun, message: &[u8]) -> Disposition {
        let redelivered = begun.redelivered;
        let handle = async {
            match request::decode(message, &self.policy.limits) {
                Ok(request) => {
                    begun.was_read();
                    poison(request.action.as_deref());
                    self.handle_request(begun, request).await
                }
                Err(refused) => self.refuse(*refused, redelivered),
            }
        };
        match AssertUnwindSafe(handle).catch_unwind().await {
            Ok(disposition) => disposition,
            // Actions have a net of their own: this is a defect in reading the
            // request or writing the reply, and would be one again.
            Err(_) => {
                let refused = request::condemn(message, &self.policy.limits, true);
                self.refuse(refused, redelivered)
            }
        }
    }

    async fn condemn(&self, id: &DeliveryId, message: &[u8], unread: bool) -> Disposition {
        // What had its effect is answered from that, which runs nothing.
        if matches!(self.world.store.outcome(id).await, Ok(Some(_))) {
            return self.handle(Begun::new(*id, true), message).await;
        }
        self.refuse(
            request::condemn(message, &self.policy.limits, unread),
            false,
        )
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
            self.world.store.forget_outcomes(orphaned);
        }
    }

    fn settled(&self, deliveries: Vec<DeliveryId>) {
        self.world.store.forget_outcomes(deliveries);
    }

    fn over_long_prefix(&self) -> String {
        dead_letter::over_long_prefix(self.world.clock.now())
    }

    fn undeliverable_prefix(&self) -> String {
        dead_letter::undeliverable_prefix(self.world.clock.now())
    }

    fn undeliverable(&self, id: &str) -> Option<queue::DeadLetter> {
        let letter = DeadLetter::undeliverable(id);
        let reason = letter.reason.clone();
        let bytes = letter.encode(self.world.clock.now()).ok()?;
        Some(queue::DeadLetter { reason, bytes })
    }
}

/// The id and origin of a request; an id is made for one that brings none.
/// `None` only without randomness.
fn identify(envelope: &Envelope) -> Option<(RequestId, Option<String>)> {
    let id = match &envelope.id {
        Some(id) => id.clone(),
        None => match RequestId::generate() {
            Ok(id) => {
                info!(id = %id.name(), origin = ?envelope.origin, "a request without a usable id: the reply goes to this one");
                id
            }
            Err(error) => {
                error!(%error, "no randomness for a request id");
                return None;
            }
        },
    };
    Some((id, envelope.origin.clone()))
}

/// What the caller is told: a defect of ours is for the log.
fn public_text(error: &Error, id: &RequestId) -> String {
    match error {
        Error::Internal(_) | Error::Store(StoreError::Engine(_)) => format!(
            "Internal error: the log of platypush-userd tells more about request {}",
            id.name()
        ),
        error => error.to_string(),
    }
}
