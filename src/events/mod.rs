//! What happened, told to Platypush nodes: an event for each act that changed
//! something, and for each failed attempt.
//!
//! An action notes an [`Event`] when the store has taken the effect, and
//! dispatch hands it to the [`Publisher`] when it makes the entry in the audit
//! trail. Here is what an event holds and how it is written; `publisher.rs` is
//! the queue in front of Redis, `publishing.rs` the way there.
//!
//! An event holds no secret, and of a name that nobody has only the keyed hash
//! that the audit trail has too: people type passwords where names belong. No text in it is one
//! that Platypush would evaluate (`text.rs`).
//!
//! # Adding a kind
//!
//! A line in `acts!`, and behind the store's operation
//! `call.notes.event(|| Event::of(&user, EventKind::…))`. A case in
//! `tests/it/events/kinds.rs` and a row in the README: tests fail until both
//! are there. No argument may be called `event`, nor like a parameter or a
//! member of Platypush's `Event`; a test knows those.

mod losses;
mod publisher;
mod publishing;

use serde::Serialize;

pub use self::publisher::{Publisher, Publishing};
use crate::clock::{Timestamp, iso, optional_iso};
use crate::model::{ApiToken, ApiTokenId, Attempted, Reason, User, UserId};
use crate::text;
use crate::wire::json;

/// The event of Platypush that hooks tell apart by its arguments.
const CUSTOM_EVENT: &str = "platypush.message.event.custom.CustomEvent";
/// By which hooks know ours.
const SUBTYPE: &str = "user_event";
/// Who asked for what was done on the machine of the daemon.
pub const OPERATOR: &str = "operator";

macro_rules! acts {
    ($(
        $(#[$doc:meta])*
        $act:ident = $kind:literal { $($(#[$argument_doc:meta])* $argument:ident: $type:ty,)* }
    )*) => {
        /// What was done, with the arguments of its own.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(untagged)]
        pub enum EventKind {
            $($(#[$doc])* $act { $($(#[$argument_doc])* $argument: $type,)* },)*
        }

        /// Every kind of event, as hooks name it.
        pub const KINDS: &[&str] = &[$($kind),*];

        impl EventKind {
            /// Its kind, as hooks name it.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self {
                    $(Self::$act { .. } => $kind,)*
                }
            }
        }
    };
}

acts! {
    /// A user was made.
    UserCreated = "user_created" {}
    /// A user is gone, with all that was its.
    UserDeleted = "user_deleted" {}
    /// A user has another password.
    PasswordUpdated = "password_updated" {
        /// Whether all its sessions ended in the same step.
        sessions_revoked: bool,
    }
    /// A user has logged in.
    SessionCreated = "session_created" {
        /// As `get_sessions` names it.
        session_id: String,
        /// When it ends.
        #[serde(serialize_with = "optional_iso")]
        expires_at: Option<Timestamp>,
    }
    /// Sessions of a user were ended.
    SessionDeleted = "session_deleted" {
        /// Which one; none where all were.
        session_id: Option<String>,
        /// Whether all were.
        all_sessions: bool,
    }
    /// Somebody was not let in.
    LoginFailed = "login_failed" {
        /// How many in a row that makes under this name; none where they are
        /// not counted.
        attempts: Option<u32>,
        /// What was wrong.
        reason: Reason,
        /// Tells names apart that nobody has.
        name_hash: Option<String>,
    }
    /// A user's second factor is on.
    OtpEnabled = "otp_enabled" {}
    /// A user's second factor is off.
    OtpDisabled = "otp_disabled" {}
    /// A user has other backup codes.
    BackupCodesRefreshed = "backup_codes_refreshed" {}
    /// A user has a new API token.
    ApiTokenCreated = "api_token_created" {
        /// As `get_api_tokens` numbers it.
        token_id: ApiTokenId,
        /// As its user calls it.
        token_name: String,
        /// When it ends.
        #[serde(serialize_with = "optional_iso")]
        expires_at: Option<Timestamp>,
    }
    /// API tokens of a user were ended.
    ApiTokenDeleted = "api_token_deleted" {
        /// Which one; none where all were.
        token_id: Option<ApiTokenId>,
        /// As its user called it.
        token_name: Option<String>,
        /// Whether all were.
        all_tokens: bool,
    }
}

impl EventKind {
    /// All sessions of a user were ended.
    #[must_use]
    pub const fn all_sessions_deleted() -> Self {
        Self::SessionDeleted {
            session_id: None,
            all_sessions: true,
        }
    }

    /// An API token was made.
    #[must_use]
    pub fn api_token_created(token: &ApiToken) -> Self {
        Self::ApiTokenCreated {
            token_id: token.id,
            token_name: token.name.clone(),
            expires_at: token.expires_at,
        }
    }

    /// One API token was ended.
    #[must_use]
    pub fn api_token_deleted(token: &ApiToken) -> Self {
        Self::ApiTokenDeleted {
            token_id: Some(token.id),
            token_name: Some(token.name.clone()),
            all_tokens: false,
        }
    }

    /// All API tokens of a user were ended.
    #[must_use]
    pub const fn all_api_tokens_deleted() -> Self {
        Self::ApiTokenDeleted {
            token_id: None,
            token_name: None,
            all_tokens: true,
        }
    }

    /// One session was ended.
    #[must_use]
    pub const fn session_deleted(session_id: String) -> Self {
        Self::SessionDeleted {
            session_id: Some(session_id),
            all_sessions: false,
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whom it is about: number and name. None where nobody has the name.
    user: Option<(UserId, String)>,
    act: EventKind,
}

impl Event {
    /// It is about this user.
    #[must_use]
    pub fn of(user: &User, act: EventKind) -> Self {
        Self::of_user(user.id, &user.username, act)
    }

    /// It is about the user of this number and name.
    #[must_use]
    pub fn of_user(id: UserId, name: &str, act: EventKind) -> Self {
        Self {
            user: Some((id, name.to_owned())),
            act,
        }
    }

    /// An attempt under a name failed; the failures in a row with it, where it
    /// was counted.
    #[must_use]
    pub fn login_failed(
        attempted: Attempted,
        name: &str,
        attempts: Option<u32>,
        reason: Reason,
    ) -> Self {
        let (user, name_hash) = match attempted {
            Attempted::User(id) => (Some((id, name.to_owned())), None),
            Attempted::UnknownName(hash) => (None, Some(hex::encode(hash.0))),
        };
        let act = EventKind::LoginFailed {
            attempts,
            reason,
            name_hash,
        };
        Self { user, act }
    }

    /// Whether the store knows that it happened. What it does not know happens
    /// again when its request is delivered again.
    #[must_use]
    pub const fn is_on_record(&self) -> bool {
        !matches!(self.act, EventKind::LoginFailed { attempts: None, .. })
    }

    /// The message for a Platypush node. `by` asked for it, which is told
    /// where that is somebody else; the request says that it comes from
    /// `requested_by`, which the event repeats where it is a plain name.
    ///
    /// # Errors
    /// Never in practice; kept in the type because encoding is fallible.
    pub fn encode(
        &self,
        by: Option<&str>,
        requested_by: Option<&str>,
        happened_at: Timestamp,
    ) -> serde_json::Result<Vec<u8>> {
        let user = self.user.as_ref();
        let username = user.map(|(_, name)| name.as_str());
        json::encode(&Message {
            r#type: "event",
            args: Arguments {
                r#type: CUSTOM_EVENT,
                subtype: SUBTYPE,
                kind: self.act.kind(),
                username,
                user_id: user.map(|(id, _)| *id),
                act: &self.act,
                by: by.filter(|by| Some(*by) != username),
                requested_by: requested_by.filter(|origin| text::is_plain_origin(origin)),
                happened_at,
            },
        })
    }
}

/// No `target`: a node drops an event for another off its list. No
/// `_timestamp`: a node drops what is older than a minute, and the event may
/// have waited for the node.
#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    args: Arguments<'a>,
}

/// All of them are always there: a hook that asks for one that is missing
/// fails.
#[derive(Serialize)]
struct Arguments<'a> {
    r#type: &'static str,
    subtype: &'static str,
    kind: &'static str,
    username: Option<&'a str>,
    user_id: Option<UserId>,
    #[serde(flatten)]
    act: &'a EventKind,
    by: Option<&'a str>,
    requested_by: Option<&'a str>,
    #[serde(serialize_with = "iso")]
    happened_at: Timestamp,
}
