//! The audit trail: one structured log event (target `audit`, level info) for every login, failure,
//! change and deletion, and for every command of the operator.
//!
//! An entry never contains a secret. The name of a user is logged as it is; any other name is
//! logged as a keyed hash, because users type passwords into the name field. Text from clients is
//! logged in its escaped `Debug` form, so that it cannot forge a line (OWASP ASVS 5.0, 16.4.1).
//!
//! All entries about authenticated users and failures under a user's name are written; the
//! throttle, if enabled, bounds these failures. Refusals that any client can cause without limit
//! are written up to a quota a minute, and then counted ([`Trail`]).
//!
//! The [`Notes`] that a request takes for its entry also carry the event that is published to
//! Platypush nodes (`events/`).

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::field::debug;
use tracing::info;

use crate::error::{Error, echo};
use crate::events::Event;
use crate::log_quota::{LogQuota, discard};
use crate::model::{CodeUse, NameHash};

/// Outcome of a request that succeeded.
pub const SUCCESS: &str = "success";
/// Outcome of a request to delete a session that does not exist.
pub const NO_SUCH_SESSION: &str = "no_such_session";

/// A name in an entry: the user it is about, or the requester.
#[derive(Clone)]
pub enum Identity {
    /// A user, by name.
    User(String),
    /// A name that no user has.
    UnknownName(NameHash),
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "{name:?}"),
            Self::UnknownName(hash) => write!(f, "unknown:{}", hex::encode(hash.0)),
        }
    }
}

/// Facts that are noted about a request while it runs.
#[derive(Debug)]
pub struct Notes {
    noted: Mutex<Noted>,
    wants_event: bool,
}

#[derive(Debug, Default)]
struct Noted {
    user: Option<Identity>,
    by: Option<Identity>,
    refusal: Option<&'static str>,
    factor: Option<&'static str>,
    event: Option<Event>,
}

impl Notes {
    /// Creates empty notes. `wants_event` is false if events are not published.
    #[must_use]
    pub fn new(wants_event: bool) -> Self {
        Self {
            noted: Mutex::default(),
            wants_event,
        }
    }

    /// Notes the user that the request is about.
    pub fn user(&self, identity: Identity) {
        self.noted().user = Some(identity);
    }

    /// Notes the requester, if that is another user.
    pub fn by(&self, identity: Identity) {
        self.noted().by = Some(identity);
    }

    /// Turns the noted user into the requester: the action is about another user.
    pub fn executing(&self) {
        let mut noted = self.noted();
        noted.by = noted.user.take();
    }

    /// Notes why a login was refused; `None` if it was not.
    pub fn refusal(&self, reason: Option<&'static str>) {
        self.noted().refusal = reason;
    }

    /// Notes the kind of code that was verified in addition to the password.
    pub fn factor(&self, code: Option<&CodeUse>) {
        self.noted().factor = code.map(|code| match code {
            CodeUse::Step(_) => "totp",
            CodeUse::Backup(_) | CodeUse::Imported(_) => "backup_code",
        });
    }

    /// Notes the event of the request, after the store has applied its effect. A request has at
    /// most one effect.
    pub fn event(&self, event: impl FnOnce() -> Event) {
        if self.wants_event {
            let event = event();
            self.noted().event = Some(event);
        }
    }

    /// Whether an event will be published.
    #[must_use]
    pub const fn wants_event(&self) -> bool {
        self.wants_event
    }

    /// Takes the event, if there is one, with the name of the requester, if that is another user.
    #[must_use]
    pub fn take_event(&self) -> Option<(Event, Option<String>)> {
        let mut noted = self.noted();
        let event = noted.event.take()?;
        match &noted.by {
            Some(Identity::User(name)) => Some((event, Some(name.clone()))),
            Some(Identity::UnknownName(_)) | None => Some((event, None)),
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the entries of requests within a quota, and counts the others.
pub struct Trail(LogQuota);

impl Default for Trail {
    fn default() -> Self {
        Self(LogQuota::new(|outcome, count| {
            info!(target: "audit", outcome, count, "more entries of this outcome within a minute");
        }))
    }
}

impl Trail {
    /// Writes the counts of the entries over the quota. Called before the process stops.
    pub fn flush(&self) {
        self.0.flush();
    }

    /// Logs the outcome of a request.
    pub fn log(&self, entry: &Entry<'_>, notes: &Notes, outcome: &'static str) {
        let noted = notes.noted();
        let outcome = noted.refusal.unwrap_or(outcome);
        if !is_unbounded(&noted, outcome) || self.0.admits(outcome) {
            entry.write(&noted, outcome);
        } else {
            // Takes as long as a written entry: failures under the name of a user are always
            // written, so a shorter time would reveal that the name is unknown.
            discard(|| entry.write(&noted, outcome));
        }
    }
}

/// Whether a client can cause any number of such entries without authentication and without being
/// throttled.
fn is_unbounded(noted: &Noted, outcome: &str) -> bool {
    let is_user = |identity: &Option<Identity>| matches!(identity, Some(Identity::User(_)));
    match outcome {
        SUCCESS => false,
        // Refused before the password was checked, so not limited by the throttle.
        "throttled" | "busy" => true,
        _ => !is_user(&noted.user) && !is_user(&noted.by),
    }
}

/// An audited request.
pub struct Entry<'a> {
    /// Id of the request.
    pub id: &'a str,
    /// Sender, as the request claims.
    pub origin: Option<&'a str>,
    /// The action, as the request names it.
    pub action: &'a str,
}

impl Entry<'_> {
    /// Logs a redelivered request whose effect is on record. The earlier process may have ended
    /// before it logged the request.
    pub fn log_recorded(&self) {
        self.write(&Noted::default(), "redelivered");
    }

    fn write(&self, noted: &Noted, outcome: &str) {
        let Self { id, origin, .. } = self;
        let action = echo(self.action);
        let (user, by) = (noted.user.as_ref().map(debug), noted.by.as_ref().map(debug));
        // A code is used only if the request takes effect.
        let takes_effect = noted.refusal.is_none() && matches!(outcome, SUCCESS | NO_SUCH_SESSION);
        let factor = noted.factor.filter(|_| takes_effect);
        info!(target: "audit", ?id, origin = origin.map(debug), ?action, user, by, factor, outcome);
    }
}

/// The process that sends a command of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// User id, as reported by the operating system.
    pub uid: u32,
    /// User id of the caller of `sudo`, as claimed by the command: root runs commands as the owner
    /// of the working directory.
    pub sudo_uid: Option<u32>,
}

/// A command of the operator, as logged.
pub struct AdminAct<'a> {
    /// Name of the command.
    pub action: &'a str,
    /// Process that sent it.
    pub by: &'a Caller,
    /// Whether API tokens are kept, for a command with that option.
    pub keep_api_tokens: Option<bool>,
}

impl AdminAct<'_> {
    /// Logs the command. `sudo_uid` is logged as a claim: the command itself reports it.
    pub fn log(&self, user: Option<&Identity>, outcome: &str) {
        let action = self.action;
        let by = format!("uid {}", self.by.uid);
        info!(
            target: "audit",
            ?action,
            user = user.map(debug),
            ?by,
            claimed_sudo_uid = self.by.sudo_uid,
            keep_api_tokens = self.keep_api_tokens,
            outcome
        );
    }
}

/// Whether a refusal with this error is audited even if the action is a look-up.
#[must_use]
pub const fn is_authentication_failure(error: &Error) -> bool {
    matches!(
        error,
        Error::Unauthorized
            | Error::InvalidSession
            | Error::NoUserForSession
            | Error::InvalidApiToken
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_event_is_created_unless_events_are_published() {
        let notes = Notes::new(false);
        notes.event(|| panic!("an event was created"));
        assert!(notes.take_event().is_none());
    }
}
