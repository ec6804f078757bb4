//! What the operator can do, who proves nothing: whoever may enter the working
//! directory has the database anyway. Never over Redis, but over the control
//! socket, or on the store itself while no daemon runs.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::audit::{self, Caller, Who};
use crate::error::Error;
use crate::events::{self, Event, EventKind, Publisher};
use crate::keyring::Keyring;
use crate::model::{Attempted, User, UserId};
use crate::rotation::{self, RotationError};
use crate::services::Services;
use crate::store::{AdminUpdate, StoreError};
use crate::transfer::export::{self, Exported, Part};
use crate::transfer::import::{self, ImportError, ImportOutcome, ImportRequest, pause};

/// A command of the operator, as it goes over the control socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AdminCommand {
    /// List all users.
    Users,
    /// Forget the failed attempts under a name, whether or not it is a user's.
    Unlock {
        /// The name.
        name: String,
    },
    /// Switch a user's second factor off.
    DisableOtp {
        /// Whose.
        name: String,
    },
    /// Give a user another password; all its sessions and API tokens end.
    ResetPassword {
        /// Whose.
        name: String,
        /// The new one.
        #[serde(with = "exposed")]
        password: SecretString,
        /// Whether API tokens stay.
        #[serde(default)]
        keep_api_tokens: bool,
    },
    /// End all sessions of a user.
    DeleteSessions {
        /// Whose.
        name: String,
    },
    /// End all API tokens of a user.
    DeleteApiTokens {
        /// Whose.
        name: String,
    },
    /// Seal everything with a new key and drop the old one.
    RotateKey,
    /// Let users in who come from elsewhere.
    Import(ImportRequest),
    /// Write a part of everything.
    Export(Part),
}

/// What came of a command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminReply {
    /// All users by id.
    Users(Vec<UserState>),
    /// The failures are forgotten.
    Unlocked {
        /// Whether there is a user of that name.
        exists: bool,
    },
    /// It is done.
    Done,
    /// A new key seals.
    KeyRotated {
        /// Its number.
        key: u8,
        /// How many things were sealed anew.
        resealed: u64,
    },
    /// What became of each who came, in their order.
    Imported(Vec<ImportOutcome>),
    /// A part of everything, and where the next one begins.
    Exported(Exported, Option<Part>),
}

/// What an operator sees of a user.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserState {
    /// Number.
    pub id: UserId,
    /// Name.
    pub name: String,
    /// When it was made, in UTC.
    pub created: String,
    /// Whether the second factor is on.
    pub second_factor: bool,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// For how many seconds no attempt is tried.
    pub locked_for: Option<u64>,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// About a user.
    #[error(transparent)]
    User(#[from] Error),
    /// About the keys.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// About those who come.
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
            Self::Export(_) => "export",
        }
    }

    /// Whether it stands in the audit trail. Of an export, the beginning stands
    /// for all of it.
    const fn is_audited(&self) -> bool {
        match self {
            Self::Import(order) => !order.dry_run,
            Self::Export(part) => matches!(part, Part::Heading),
            _ => true,
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
            Self::Users | Self::RotateKey | Self::Import(_) | Self::Export(_) => None,
        }
    }
}

/// Carries the commands out.
pub struct Operator {
    services: Arc<Services>,
    keyring: Arc<Keyring>,
    /// Whether requests are served meanwhile.
    is_serving: bool,
    events: Option<Publisher>,
}

/// What a command came to, and what happened by it.
struct Done {
    reply: AdminReply,
    events: Vec<Event>,
}

impl From<AdminReply> for Done {
    fn from(reply: AdminReply) -> Self {
        Self {
            reply,
            events: Vec::new(),
        }
    }
}

impl Operator {
    /// Works on a store that no daemon has.
    #[must_use]
    pub const fn alone(services: Arc<Services>, keyring: Arc<Keyring>) -> Self {
        Self {
            services,
            keyring,
            is_serving: false,
            events: None,
        }
    }

    /// Works on the same things as the actions do meanwhile, and tells of it as
    /// they do.
    #[must_use]
    pub const fn in_daemon(
        services: Arc<Services>,
        keyring: Arc<Keyring>,
        events: Option<Publisher>,
    ) -> Self {
        Self {
            services,
            keyring,
            is_serving: true,
            events,
        }
    }

    /// Carries a command out and puts it into the audit trail.
    ///
    /// # Errors
    /// When it could not be done; nothing was changed then, unless the store
    /// has stopped.
    pub async fn run(&self, command: AdminCommand, by: &Caller) -> Result<AdminReply, AdminError> {
        let act = audit::AdminAct {
            action: command.name(),
            by,
            keep_api_tokens: command.keep_api_tokens(),
        };
        let about = match command.username() {
            Some(name) => Some(self.who(name).await?),
            None => None,
        };
        let is_audited = command.is_audited();
        let result = self.carry_out(command).await;
        if is_audited {
            let outcome = result.as_ref().map_or_else(AdminError::name, |_| "success");
            audit::admin(&act, about.as_ref(), outcome);
        }
        // Without a daemon the trail is on standard error. On a terminal, where
        // nobody keeps it, a line for each user would hide the report.
        let names_each = self.is_serving || !io::stderr().is_terminal();
        if let (Ok(AdminReply::Imported(fates)), true) = (
            result.as_ref().map(|done| &done.reply),
            is_audited && names_each,
        ) {
            for (number, fate) in fates.iter().enumerate() {
                pause(number).await;
                if let ImportOutcome::Comes { name, .. } = fate {
                    audit::admin(&act, Some(&Who::User(name.clone())), "success");
                }
            }
        }
        let Done { reply, events } = result?;
        if let Some(publisher) = &self.events {
            let now = self.services.clock.now();
            for event in events {
                publisher.publish(&event, Some(events::OPERATOR), None, now);
            }
        }
        Ok(reply)
    }

    async fn who(&self, name: &str) -> Result<Who, AdminError> {
        Ok(match self.services.store.user_by_name(name).await? {
            Some(user) => Who::User(user.username),
            None => Who::UnknownName(self.services.credentials.name_hash(name)),
        })
    }

    async fn carry_out(&self, command: AdminCommand) -> Result<Done, AdminError> {
        match command {
            AdminCommand::Users => Ok(self.users().await?.into()),
            AdminCommand::Unlock { name } => Ok(self.unlock(&name).await?.into()),
            AdminCommand::DisableOtp { name } => self.disable_otp(&name).await,
            AdminCommand::ResetPassword {
                name,
                password,
                keep_api_tokens,
            } => self.reset_password(&name, &password, keep_api_tokens).await,
            AdminCommand::DeleteSessions { name } => {
                let act = EventKind::all_sessions_deleted();
                self.amend(&name, AdminUpdate::EndSessions, vec![act]).await
            }
            AdminCommand::DeleteApiTokens { name } => {
                let act = EventKind::all_api_tokens_deleted();
                self.amend(&name, AdminUpdate::DropApiTokens, vec![act])
                    .await
            }
            AdminCommand::RotateKey => Ok(self.rotate_key().await?.into()),
            AdminCommand::Import(order) => {
                let _lease = self.keyring.lease();
                let fates = import::import(&self.services, order, self.is_serving).await?;
                Ok(AdminReply::Imported(fates).into())
            }
            AdminCommand::Export(part) => {
                let (exported, next) = export::export(&self.services, &self.keyring, part).await?;
                Ok(AdminReply::Exported(exported, next).into())
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
        self.services.store.forget_failures(attempted).await?;
        Ok(AdminReply::Unlocked {
            exists: user.is_some(),
        })
    }

    async fn disable_otp(&self, name: &str) -> Result<Done, AdminError> {
        let user = self.services.store.user_by_name(name).await?;
        if user.is_some_and(|user| user.second_factor.is_none()) {
            return Err(Error::OtpNotEnabled(name.to_owned()).into());
        }
        self.amend(
            name,
            AdminUpdate::DropSecondFactor,
            vec![EventKind::OtpDisabled {}],
        )
        .await
    }

    async fn reset_password(
        &self,
        name: &str,
        password: &SecretString,
        keep_api_tokens: bool,
    ) -> Result<Done, AdminError> {
        let limits = &self.services.limits;
        limits.check_password_length("password", password.expose_secret())?;
        limits.check_new_password(password.expose_secret())?;
        let record = self.services.credentials.hash(password).await?;
        let act = EventKind::PasswordUpdated {
            sessions_revoked: true,
        };
        let update = AdminUpdate::ResetPassword {
            record,
            keep_api_tokens,
        };
        let mut kinds = vec![act];
        if !keep_api_tokens {
            kinds.push(EventKind::all_api_tokens_deleted());
        }
        self.amend(name, update, kinds).await
    }

    async fn amend(
        &self,
        name: &str,
        update: AdminUpdate,
        kinds: Vec<EventKind>,
    ) -> Result<Done, AdminError> {
        match self.services.store.update_user(name, update).await {
            Ok(user) => Ok(Done {
                reply: AdminReply::Done,
                events: kinds.into_iter().map(|act| Event::of(&user, act)).collect(),
            }),
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

/// A secret in clear: over a socket that only its owner may use.
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
