//! Events for Platypush nodes: one for each change to a user and for each failed login.
//!
//! An action notes an [`Event`] after the store's operation, so its effect is on disk. Dispatch
//! passes the event to the [`Publisher`] when it writes the entry in the audit trail. Counts of
//! failures in events are those of the store. This file defines the events and their encoding,
//! `publisher.rs` the queue, `publishing.rs` the task that sends to Redis. Without a destination
//! there is no publisher, and no event is made.
//!
//! An event contains no secret. An unknown name appears only as the keyed hash that the audit trail
//! also has, because people type passwords into the name field. No text in an event is evaluated by
//! Platypush (`text.rs`).
//!
//! # At most once
//!
//! A request that is answered from its outcome publishes nothing. Any other redelivered request
//! publishes only events whose effect is on record in the store: its earlier run may have published
//! any other event.
//!
//! # Names of arguments
//!
//! No argument may be named `event`, or like a parameter or member of Platypush's `Event`. A test
//! lists those names.

mod losses;
mod publisher;
mod publishing;

use serde::Serialize;

pub use self::publisher::{Publisher, PublisherHandle};
use crate::clock::{Timestamp, iso, optional_iso};
use crate::model::{ApiToken, ApiTokenId, Attempted, Reason, User, UserId};
use crate::text;
use crate::wire::json;

/// Platypush's generic event type. Hooks match such events by their arguments.
const CUSTOM_EVENT: &str = "platypush.message.event.custom.CustomEvent";
/// `subtype` of all events of the daemon.
const SUBTYPE: &str = "user_event";
/// `by` of an event that an admin command causes.
pub const OPERATOR: &str = "operator";

/// Documentation of a kind.
#[derive(Debug)]
pub struct KindDoc {
    /// Name of the kind, as hooks match it.
    pub name: &'static str,
    /// Documentation of the kind.
    pub doc: &'static str,
    /// Names and documentation of the arguments specific to the kind.
    pub arguments: &'static [(&'static str, &'static str)],
}

macro_rules! event_kinds {
    ($(
        $(#[doc = $doc:literal])+
        $kind:ident = $name:literal {
            $($(#[doc = $argument_doc:literal])+ $(#[serde($serde:meta)])? $argument:ident: $type:ty,)*
        }
    )*) => {
        /// What happened, with the arguments specific to the kind.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(untagged)]
        pub enum EventKind {
            $(
                $(#[doc = $doc])+
                $kind { $($(#[doc = $argument_doc])+ $(#[serde($serde)])? $argument: $type,)* },
            )*
        }

        /// All kinds.
        pub const KINDS: &[KindDoc] = &[$(KindDoc {
            name: $name,
            doc: concat!($($doc),+),
            arguments: &[$((stringify!($argument), concat!($($argument_doc),+)),)*],
        }),*];

        impl EventKind {
            /// Returns the name of the kind, as hooks match it.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$kind { .. } => $name,)*
                }
            }
        }
    };
}

event_kinds! {
    /// A user was created.
    UserCreated = "user_created" {}
    /// A user was deleted, with its sessions and API tokens.
    UserDeleted = "user_deleted" {}
    /// The password of a user was changed.
    PasswordUpdated = "password_updated" {
        /// Whether all sessions of the user ended in the same step.
        sessions_revoked: bool,
    }
    /// A user logged in.
    SessionCreated = "session_created" {
        /// Id of the session in `get_sessions`.
        session_id: String,
        /// When the session expires.
        #[serde(serialize_with = "optional_iso")]
        expires_at: Option<Timestamp>,
    }
    /// One session or all sessions of a user ended.
    SessionDeleted = "session_deleted" {
        /// Id of the session, or `None` if all ended.
        session_id: Option<String>,
        /// Whether all sessions ended.
        all_sessions: bool,
    }
    /// A login failed.
    LoginFailed = "login_failed" {
        /// Consecutive failures under this name, or `None` if failures are not counted.
        attempts: Option<u32>,
        /// Which credential was wrong.
        reason: Reason,
        /// Keyed hash that identifies an unknown name.
        name_hash: Option<String>,
    }
    /// The second factor of a user was enabled.
    OtpEnabled = "otp_enabled" {}
    /// The second factor of a user was disabled.
    OtpDisabled = "otp_disabled" {}
    /// The backup codes of a user were replaced.
    BackupCodesRefreshed = "backup_codes_refreshed" {}
    /// An API token was created.
    ApiTokenCreated = "api_token_created" {
        /// Id of the token in `get_api_tokens`.
        token_id: ApiTokenId,
        /// Name that the user gave the token.
        token_name: String,
        /// When the token expires.
        #[serde(serialize_with = "optional_iso")]
        expires_at: Option<Timestamp>,
    }
    /// One API token or all API tokens of a user were deleted.
    ApiTokenDeleted = "api_token_deleted" {
        /// Id of the token, or `None` if all were deleted.
        token_id: Option<ApiTokenId>,
        /// Name that the user gave the token, or `None` if all were deleted.
        token_name: Option<String>,
        /// Whether all tokens were deleted.
        all_tokens: bool,
    }
}

impl EventKind {
    /// Returns the kind for the end of one session, or of all sessions of a user if `session_id` is
    /// `None`.
    #[must_use]
    pub const fn session_deleted(session_id: Option<String>) -> Self {
        Self::SessionDeleted {
            all_sessions: session_id.is_none(),
            session_id,
        }
    }

    /// Returns the kind for a new API token.
    #[must_use]
    pub fn api_token_created(token: &ApiToken) -> Self {
        Self::ApiTokenCreated {
            token_id: token.id,
            token_name: token.name.clone(),
            expires_at: token.expires_at,
        }
    }

    /// Returns the kind for the deletion of one API token, or of all API tokens of a user if `token`
    /// is `None`.
    #[must_use]
    pub fn api_token_deleted(token: Option<&ApiToken>) -> Self {
        Self::ApiTokenDeleted {
            token_id: token.map(|token| token.id),
            token_name: token.map(|token| token.name.clone()),
            all_tokens: token.is_none(),
        }
    }
}

/// An event about one user, or about a failed login under an unknown name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Id and name of the user, or `None` for an unknown name.
    user: Option<(UserId, String)>,
    kind: EventKind,
}

impl Event {
    /// Creates an event about a user.
    #[must_use]
    pub fn of(user: &User, kind: EventKind) -> Self {
        Self::of_user(user.id, &user.username, kind)
    }

    /// Creates an event about the user with this id and name.
    #[must_use]
    pub fn of_user(id: UserId, name: &str, kind: EventKind) -> Self {
        Self {
            user: Some((id, name.to_owned())),
            kind,
        }
    }

    /// Creates the event for a failed login under a name. `attempts` counts the consecutive
    /// failures including this one, or is `None` if failures are not counted.
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
        let kind = EventKind::LoginFailed {
            attempts,
            reason,
            name_hash,
        };
        Self { user, kind }
    }

    /// Returns whether the effect is recorded in the store. Without a record, a redelivered
    /// request causes the event again.
    #[must_use]
    pub const fn is_on_record(&self) -> bool {
        !matches!(self.kind, EventKind::LoginFailed { attempts: None, .. })
    }

    /// Encodes the message for a Platypush node.
    ///
    /// `by` is the executing user; the event omits it if it is the user of the event.
    /// `requested_by` is the request's `origin`; the event contains it only if it is a plain name
    /// ([`text::is_plain_origin`]).
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
                kind: self.kind.name(),
                username,
                user_id: user.map(|(id, _)| *id),
                details: &self.kind,
                by: by.filter(|by| Some(*by) != username),
                requested_by: requested_by.filter(|origin| text::is_plain_origin(origin)),
                happened_at,
            },
        })
    }
}

/// The message on the wire.
///
/// It has no `target`, because a node discards an event for another node. It has no `_timestamp`,
/// because a node discards messages older than a minute, and the event may have waited for the
/// node.
#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    args: Arguments<'a>,
}

/// Arguments of the event. All are always present, because a hook that reads a missing one fails.
#[derive(Serialize)]
struct Arguments<'a> {
    r#type: &'static str,
    subtype: &'static str,
    kind: &'static str,
    username: Option<&'a str>,
    user_id: Option<UserId>,
    #[serde(flatten)]
    details: &'a EventKind,
    by: Option<&'a str>,
    requested_by: Option<&'a str>,
    #[serde(serialize_with = "iso")]
    happened_at: Timestamp,
}
