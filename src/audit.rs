//! The audit trail: every login, failure, change and deletion, and every act
//! of the operator, as one structured log event (target `audit`, level info).
//! What is noted for it while a request runs also tells what Platypush nodes
//! are to hear (`events/`).
//!
//! It never holds a secret. Names are logged where a user has them; any other
//! name is logged as a keyed hash, because people type passwords where names
//! belong. Text from clients stands in its escaped `Debug` form, so that it
//! cannot forge a line (OWASP ASVS 5.0, 16.4.1).
//!
//! Whatever proves to be a user, and each failure under the name of one, has an
//! entry of its own: the throttle, where it is on, bounds the latter. Of refusals that any client
//! can cause without end, the first ones of a minute have, and the others are
//! counted ([`Trail`]).

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::field::debug;
use tracing::info;

use crate::error::{Error, echo};
use crate::events::Event;
use crate::log_quota::{LogQuota, discard};
use crate::model::{CodeUse, NameHash};

/// The outcome of what was done…
pub const SUCCESS: &str = "success";
/// …and of the end of a session that was not there.
pub const NO_SUCH_SESSION: &str = "no_such_session";

/// Whom an entry is about.
#[derive(Clone)]
pub enum Who {
    /// A user, by name.
    User(String),
    /// A name that nobody has.
    UnknownName(NameHash),
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "{name:?}"),
            Self::UnknownName(hash) => write!(f, "unknown:{}", hex::encode(hash.0)),
        }
    }
}

/// What becomes known of a request while it runs.
#[derive(Debug)]
pub struct Notes {
    noted: Mutex<Noted>,
    wants_event: bool,
    event: Mutex<Option<Event>>,
}

#[derive(Debug, Default, Clone)]
struct Noted {
    user: Option<Who>,
    by: Option<Who>,
    refusal: Option<&'static str>,
    factor: Option<&'static str>,
}

impl Notes {
    /// Without any yet. Events need not be noted where nobody hears them.
    #[must_use]
    pub fn new(wants_event: bool) -> Self {
        Self {
            noted: Mutex::default(),
            wants_event,
            event: Mutex::default(),
        }
    }

    /// The user that it is about.
    pub fn user(&self, who: Who) {
        self.change(|noted| noted.user = Some(who));
    }

    /// Who asks, where that is somebody else.
    pub fn by(&self, who: Who) {
        self.change(|noted| noted.by = Some(who));
    }

    /// The one who was noted as the user only asks: the action is about
    /// somebody else.
    pub fn executing(&self) {
        self.change(|noted| noted.by = noted.user.take());
    }

    /// Why somebody is not let in; `None` where it is.
    pub fn refusal(&self, why: Option<&'static str>) {
        self.change(|noted| noted.refusal = why);
    }

    /// What was right beside the password: the kind of code.
    pub fn factor(&self, code: Option<&CodeUse>) {
        let factor = code.map(|code| match code {
            CodeUse::Step(_) => "totp",
            CodeUse::Backup(_) | CodeUse::Imported(_) => "backup_code",
        });
        self.change(|noted| noted.factor = factor);
    }

    /// What happened, once the store has it: a request has one effect.
    pub fn event(&self, event: impl FnOnce() -> Event) {
        if self.wants_event {
            *lock(&self.event) = Some(event());
        }
    }

    /// Whether anybody will ask for an event.
    #[must_use]
    pub const fn wants_event(&self) -> bool {
        self.wants_event
    }

    /// What happened, if anything did, and the name of the user who asked for
    /// it, where one did.
    #[must_use]
    pub fn take_event(&self) -> Option<(Event, Option<String>)> {
        let event = lock(&self.event).take()?;
        match self.get().by {
            Some(Who::User(name)) => Some((event, Some(name))),
            Some(Who::UnknownName(_)) | None => Some((event, None)),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Noted)) {
        change(&mut lock(&self.noted));
    }

    fn get(&self) -> Noted {
        lock(&self.noted).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes entries, and counts those that are one too many.
pub struct Trail(LogQuota);

impl Default for Trail {
    fn default() -> Self {
        Self(LogQuota::new(|outcome, count| {
            info!(target: "audit", outcome, count, "more of the same within a minute");
        }))
    }
}

impl Trail {
    /// Writes the counts of what has no entry: the process is about to stop.
    pub fn flush(&self) {
        self.0.flush();
    }

    /// Logs what became of a request.
    pub fn log(&self, entry: &Entry<'_>, notes: &Notes, outcome: &'static str) {
        let noted = notes.get();
        let outcome = noted.refusal.unwrap_or(outcome);
        if !can_be_caused_without_end(&noted, outcome) || self.0.admits(outcome) {
            entry.write(&noted, outcome);
        } else {
            // Names of users have an entry each: the time must not tell who is one.
            discard(|| entry.write(&noted, outcome));
        }
    }
}

/// Whether a client can cause entries of this kind without proving anything and
/// without a throttle that stops it.
fn can_be_caused_without_end(noted: &Noted, outcome: &str) -> bool {
    let is_user = |who: &Option<Who>| matches!(who, Some(Who::User(_)));
    match outcome {
        SUCCESS => false,
        // Nothing was tried, whoever has the name.
        "throttled" | "busy" => true,
        _ => !is_user(&noted.user) && !is_user(&noted.by),
    }
}

/// A request that is audited.
pub struct Entry<'a> {
    /// Its id.
    pub id: &'a str,
    /// Who sent it, as it says.
    pub origin: Option<&'a str>,
    /// The action, as the request names it.
    pub action: &'a str,
}

impl Entry<'_> {
    /// Logs that a request had its effect in an earlier process, which may
    /// have ended before it could log it.
    pub fn log_recorded(&self) {
        self.write(&Noted::default(), "redelivered");
    }

    fn write(&self, noted: &Noted, outcome: &str) {
        let Self { id, origin, .. } = self;
        let action = echo(self.action);
        let (user, by) = (noted.user.as_ref().map(debug), noted.by.as_ref().map(debug));
        // A code is spent where the request has its effect.
        let factor = noted.factor.filter(|_| is_effective(noted, outcome));
        info!(target: "audit", ?id, origin = origin.map(debug), ?action, user, by, factor, outcome);
    }
}

fn is_effective(noted: &Noted, outcome: &str) -> bool {
    noted.refusal.is_none() && matches!(outcome, SUCCESS | NO_SUCH_SESSION)
}

/// Who gives a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// As the operating system says.
    pub uid: u32,
    /// Who called `sudo`, as the command says: root runs commands as the owner of
    /// the working directory.
    pub sudo_uid: Option<u32>,
}

/// An act of the operator.
pub struct AdminAct<'a> {
    /// The command.
    pub action: &'a str,
    /// Who gives it.
    pub by: &'a Caller,
    /// Whether API tokens stay, where a command can end them or not.
    pub keep_api_tokens: Option<bool>,
}

/// Logs an act of the operator. The uid behind `sudo` is what the command says.
pub fn admin(act: &AdminAct<'_>, user: Option<&Who>, outcome: &str) {
    let AdminAct {
        action,
        by: caller,
        keep_api_tokens,
    } = act;
    let Caller { uid, sudo_uid } = caller;
    let by = format!("uid {uid}");
    info!(
        target: "audit",
        ?action,
        user = user.map(debug),
        ?by,
        claimed_sudo_uid = sudo_uid,
        keep_api_tokens,
        outcome
    );
}

/// Whether a refused request is audited even where the action is a look-up.
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
    fn where_nobody_hears_of_events_none_is_made() {
        let notes = Notes::new(false);
        notes.event(|| panic!("an event was made"));
        assert!(notes.take_event().is_none());
    }
}
