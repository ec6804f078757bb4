//! The operator's commands.
//!
//! They arrive over the control socket, or run on the store itself if no daemon runs; never over
//! Redis. They need no password: an operator who can enter the working directory can read the
//! database anyway.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::audit::{self, Caller, Identity};
use crate::error::Error;
use crate::events::{Event, EventKind, OPERATOR, Publisher};
use crate::keyring::Keyring;
use crate::model::{Attempted, User, UserId};
use crate::rotation::{self, RotationError};
use crate::services::Services;
use crate::store::{AdminUpdate, StoreError, StoreExt as _, operations};
use crate::transfer::export::{self, Lines};
use crate::transfer::import::{self, ImportError, ImportOutcome, ImportRequest, pause};

/// A command of the operator, as sent over the control socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AdminCommand {
    /// List all users.
    Users,
    /// Clear the failed attempts of a name, known or unknown.
    Unlock {
        /// The name.
        name: String,
    },
    /// Disable a user's second factor.
    DisableOtp {
        /// Name of the user.
        name: String,
    },
    /// Set a new password for a user and delete all its sessions and API tokens.
    ResetPassword {
        /// Name of the user.
        name: String,
        /// The new password.
        #[serde(with = "exposed")]
        password: SecretString,
        /// Whether to keep the API tokens.
        #[serde(default)]
        keep_api_tokens: bool,
    },
    /// Delete all sessions of a user.
    DeleteSessions {
        /// Name of the user.
        name: String,
    },
    /// Delete all API tokens of a user.
    DeleteApiTokens {
        /// Name of the user.
        name: String,
    },
    /// Seal everything with a new key and drop the old key.
    RotateKey,
    /// Import users.
    Import(ImportRequest),
    /// Export all users and sessions.
    Export,
}

/// The reply to a command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminReply {
    /// All users, ordered by id.
    Users(Vec<UserState>),
    /// The failed attempts were cleared.
    Unlocked {
        /// Whether there is a user with that name.
        exists: bool,
    },
    /// The command succeeded.
    Done,
    /// The sealing key was rotated.
    KeyRotated {
        /// Number of the new key.
        key: u8,
        /// Number of items that were resealed.
        resealed: u64,
    },
    /// The outcome for each imported user, in the order of the request.
    Imported(Vec<ImportOutcome>),
}

/// A user in the reply to [`AdminCommand::Users`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserState {
    /// Id.
    pub id: UserId,
    /// Name.
    pub name: String,
    /// Time of creation, in UTC.
    pub created: String,
    /// Whether the second factor is enabled.
    pub second_factor: bool,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// Seconds for which logins stay throttled, if any.
    pub locked_for: Option<u64>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A command about a user, or the store, failed.
    #[error(transparent)]
    User(#[from] Error),
    /// The rotation of the keys failed.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// The import failed.
    #[error(transparent)]
    Import(#[from] ImportError),
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self::User(error.into())
    }
}

impl AdminError {
    const fn name(&self) -> &'static str {
        match self {
            Self::User(error) => error.name(),
            Self::Rotation(_) => "not_rotated",
            Self::Import(_) => "not_imported",
        }
    }
}

impl AdminCommand {
    const fn name(&self) -> &'static str {
        match self {
            Self::Users => "admin users",
            Self::Unlock { .. } => "admin unlock",
            Self::DisableOtp { .. } => "admin disable-otp",
            Self::ResetPassword { .. } => "admin reset-password",
            Self::DeleteSessions { .. } => "admin delete-sessions",
            Self::DeleteApiTokens { .. } => "admin delete-api-tokens",
            Self::RotateKey => "admin rotate-key",
            Self::Import(_) => "import",
            Self::Export => "export",
        }
    }

    const fn keep_api_tokens(&self) -> Option<bool> {
        match self {
            Self::ResetPassword {
                keep_api_tokens, ..
            } => Some(*keep_api_tokens),
            _ => None,
        }
    }

    fn username(&self) -> Option<&str> {
        match self {
            Self::Unlock { name }
            | Self::DisableOtp { name }
            | Self::ResetPassword { name, .. }
            | Self::DeleteSessions { name }
            | Self::DeleteApiTokens { name } => Some(name),
            Self::Users | Self::RotateKey | Self::Import(_) | Self::Export => None,
        }
    }
}

/// Runs the operator's commands.
pub struct Operator {
    pub(crate) services: Arc<Services>,
    pub(crate) keyring: Arc<Keyring>,
    /// Whether the daemon serves requests from the same store at the same time.
    pub(crate) is_serving: bool,
    /// Publishes events, as actions do.
    pub(crate) events: Option<Publisher>,
}

impl Operator {
    /// Runs a command and logs it in the audit trail. An export goes to `lines`.
    ///
    /// # Errors
    /// Returns the error of the command. Nothing was changed then, unless the store has stopped.
    pub async fn run(
        &self,
        command: AdminCommand,
        by: &Caller,
        lines: &Lines,
    ) -> Result<AdminReply, AdminError> {
        let act = audit::AdminAct {
            action: command.name(),
            by,
            keep_api_tokens: command.keep_api_tokens(),
        };
        let subject = match command.username() {
            Some(name) => Some(self.identity(name).await?),
            None => None,
        };
        let is_audited = !matches!(&command, AdminCommand::Import(request) if request.dry_run);
        // The client has most of an export before it ends.
        let is_export = matches!(command, AdminCommand::Export);
        if is_export {
            act.log(None, "success");
        }
        let result = self.execute(command, lines).await;
        if is_audited && !(is_export && result.is_ok()) {
            let outcome = result.as_ref().map_or_else(AdminError::name, |_| "success");
            act.log(subject.as_ref(), outcome);
        }
        // Without a daemon the trail goes to standard error. A terminal does not keep it, and a
        // line for each user would hide the report.
        let logs_each_user = self.is_serving || !io::stderr().is_terminal();
        if let (Ok(AdminReply::Imported(outcomes)), true) = (&result, is_audited && logs_each_user)
        {
            for (number, outcome) in outcomes.iter().enumerate() {
                pause(number).await;
                if let ImportOutcome::Imported { name, .. } = outcome {
                    act.log(Some(&Identity::User(name.clone())), "success");
                }
            }
        }
        result
    }

    async fn identity(&self, name: &str) -> Result<Identity, AdminError> {
        Ok(match self.services.store.user_by_name(name).await? {
            Some(user) => Identity::User(user.username),
            None => Identity::UnknownName(self.services.credentials.name_hash(name)),
        })
    }

    async fn execute(
        &self,
        command: AdminCommand,
        lines: &Lines,
    ) -> Result<AdminReply, AdminError> {
        match command {
            AdminCommand::Users => self.users().await,
            AdminCommand::Unlock { name } => self.unlock(&name).await,
            AdminCommand::DisableOtp { name } => self.disable_otp(&name).await,
            AdminCommand::ResetPassword {
                name,
                password,
                keep_api_tokens,
            } => self.reset_password(&name, &password, keep_api_tokens).await,
            AdminCommand::DeleteSessions { name } => {
                let events = [EventKind::session_deleted(None)];
                self.update(&name, AdminUpdate::EndSessions, events).await
            }
            AdminCommand::DeleteApiTokens { name } => {
                let events = [EventKind::api_token_deleted(None)];
                self.update(&name, AdminUpdate::DropApiTokens, events).await
            }
            AdminCommand::RotateKey => self.rotate_key().await,
            AdminCommand::Import(request) => {
                let _lease = self.keyring.lease();
                let outcomes = import::import(&self.services, request, self.is_serving).await?;
                Ok(AdminReply::Imported(outcomes))
            }
            AdminCommand::Export => {
                export::export(&self.services, &self.keyring, lines).await?;
                Ok(AdminReply::Done)
            }
        }
    }

    async fn users(&self) -> Result<AdminReply, AdminError> {
        let users = self.services.store.users().await?;
        let state = |user: User| UserState {
            id: user.id,
            created: user.created_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            second_factor: user.second_factor.is_some(),
            failures: user.failures.count,
            locked_for: self.services.credentials.wait_of(user.failures),
            name: user.username,
        };
        Ok(AdminReply::Users(users.into_iter().map(state).collect()))
    }

    async fn unlock(&self, name: &str) -> Result<AdminReply, AdminError> {
        let user = self.services.store.user_by_name(name).await?;
        let attempted = user.as_ref().map_or_else(
            || Attempted::UnknownName(self.services.credentials.name_hash(name)),
            |user| Attempted::User(user.id),
        );
        let forget = operations::ForgetFailures { attempted };
        self.services.store.run(forget, None).await?;
        Ok(AdminReply::Unlocked {
            exists: user.is_some(),
        })
    }

    async fn disable_otp(&self, name: &str) -> Result<AdminReply, AdminError> {
        let user = self.services.store.user_by_name(name).await?;
        if user.is_some_and(|user| user.second_factor.is_none()) {
            return Err(Error::OtpNotEnabled(name.to_owned()).into());
        }
        let events = [EventKind::OtpDisabled {}];
        self.update(name, AdminUpdate::DropSecondFactor, events)
            .await
    }

    async fn reset_password(
        &self,
        name: &str,
        password: &SecretString,
        keep_api_tokens: bool,
    ) -> Result<AdminReply, AdminError> {
        let limits = &self.services.limits;
        limits.check_password_length("password", password.expose_secret())?;
        limits.check_new_password(password.expose_secret())?;
        let record = self.services.credentials.hash(password).await?;
        let update = AdminUpdate::ResetPassword {
            record,
            keep_api_tokens,
        };
        let password_updated = EventKind::PasswordUpdated {
            sessions_revoked: true,
        };
        let tokens_deleted = (!keep_api_tokens).then(|| EventKind::api_token_deleted(None));
        let events = std::iter::once(password_updated).chain(tokens_deleted);
        self.update(name, update, events).await
    }

    /// Changes a user, and passes the events of the change to the publisher, which sends them after
    /// the audit entry is written: nothing is awaited in between.
    async fn update(
        &self,
        name: &str,
        update: AdminUpdate,
        events: impl IntoIterator<Item = EventKind>,
    ) -> Result<AdminReply, AdminError> {
        let username = name.to_owned();
        let update = operations::UpdateUser { username, update };
        match self.services.store.run(update, None).await {
            Ok(user) => {
                if let Some(publisher) = &self.events {
                    let now = self.services.clock.now();
                    for kind in events {
                        let event = Event::of(&user, kind);
                        publisher.publish(&event, Some(OPERATOR), None, now);
                    }
                }
                Ok(AdminReply::Done)
            }
            Err(StoreError::NoSuchUser) => Err(Error::NoSuchUser(name.to_owned()).into()),
            Err(error) => Err(error.into()),
        }
    }

    async fn rotate_key(&self) -> Result<AdminReply, AdminError> {
        let report = rotation::rotate_key(&self.keyring, &*self.services.store).await?;
        Ok(AdminReply::KeyRotated {
            key: report.key,
            resealed: report.resealed,
        })
    }
}

/// Serializes a secret in clear, for the control socket, which only its owner can use.
mod exposed {
    use secrecy::{ExposeSecret as _, SecretString};
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        secret: &SecretString,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose_secret())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SecretString, D::Error> {
        String::deserialize(deserializer).map(SecretString::from)
    }
}
