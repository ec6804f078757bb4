//! The changes of a store as methods, for tests and benchmarks: most of them create users and
//! sessions without a request.

#![allow(dead_code, reason = "each test binary uses some of them")]

use std::future::Future;

use chrono::TimeDelta;
use platypush_userd::clock::Timestamp;
use platypush_userd::model::{
    ApiToken, ApiTokenId, Attempted, CodeHash, Failures, PasswordRecord, SecondFactor, Session,
    SessionRules, TokenHash, User, UserId,
};
use platypush_userd::store::operations::*;
use platypush_userd::store::{
    AdminUpdate, NextIds, Outcome, PasswordPrecondition, Precondition, Resealed, Result, Store,
    StoreExt as _,
};

/// A user to create.
#[derive(Debug, Clone)]
pub struct NewUser {
    pub username: String,
    pub created_at: Timestamp,
    pub password: PasswordRecord,
}

/// A session to create.
#[derive(Debug, Clone)]
pub struct NewSession {
    pub token: TokenHash,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

/// An API token to create.
#[derive(Debug, Clone)]
pub struct NewApiToken {
    pub name: String,
    pub token: TokenHash,
    pub name_in_token: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

/// Result of one step of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepStep {
    pub removed: usize,
    pub next: Option<TokenHash>,
}

/// Runs each operation of the store by a method.
pub trait Changes: Store {
    fn has_users(&self) -> impl Future<Output = Result<bool>> + Send {
        async { Ok(self.counters().await?.users > 0) }
    }

    fn has_imported_tokens(&self) -> impl Future<Output = Result<bool>> + Send {
        async { Ok(self.counters().await?.imported_tokens > 0) }
    }

    fn next_ids(&self) -> impl Future<Output = Result<NextIds>> + Send {
        async { Ok(self.counters().await?.next) }
    }

    fn create_user(
        &self,
        user: NewUser,
        precondition: Precondition,
        outcome: Option<Outcome<User>>,
    ) -> impl Future<Output = Result<User>> + Send {
        self.run(
            CreateUser {
                username: user.username,
                created_at: user.created_at,
                password: user.password,
                precondition,
            },
            outcome,
        )
    }

    fn set_password(
        &self,
        precondition: PasswordPrecondition,
        password: PasswordRecord,
        revoke_sessions: bool,
        outcome: Option<Outcome<User>>,
    ) -> impl Future<Output = Result<User>> + Send {
        let operation = SetPassword {
            precondition,
            password,
            revoke_sessions,
        };
        self.run(operation, outcome)
    }

    fn replace_password_record(
        &self,
        user_id: UserId,
        from: PasswordRecord,
        to: PasswordRecord,
    ) -> impl Future<Output = Result<()>> + Send {
        self.run(ReplacePasswordRecord { user_id, from, to }, None)
    }

    fn accept(
        &self,
        precondition: PasswordPrecondition,
        outcome: Option<Outcome<()>>,
    ) -> impl Future<Output = Result<()>> + Send {
        self.run(Accept { precondition }, outcome)
    }

    fn note_failure(
        &self,
        attempted: Attempted,
        at: Timestamp,
        outcome: Option<Outcome<Failures>>,
    ) -> impl Future<Output = Result<Failures>> + Send {
        self.run(NoteFailure { attempted, at }, outcome)
    }

    fn can_write(&self) -> impl Future<Output = Result<()>> + Send {
        self.run(CanWrite, None)
    }

    fn replace_backup_codes(
        &self,
        precondition: PasswordPrecondition,
        backup_codes: Vec<CodeHash>,
        outcome: Option<Outcome<()>>,
    ) -> impl Future<Output = Result<()>> + Send {
        let operation = ReplaceBackupCodes {
            precondition,
            backup_codes,
        };
        self.run(operation, outcome)
    }

    fn set_second_factor(
        &self,
        precondition: PasswordPrecondition,
        second_factor: Option<SecondFactor>,
        outcome: Option<Outcome<()>>,
    ) -> impl Future<Output = Result<()>> + Send {
        let operation = SetSecondFactor {
            precondition,
            second_factor,
        };
        self.run(operation, outcome)
    }

    fn delete_user(
        &self,
        username: &str,
        precondition: Precondition,
        outcome: Option<Outcome<UserId>>,
    ) -> impl Future<Output = Result<UserId>> + Send {
        let operation = DeleteUser {
            username: username.to_owned(),
            precondition,
        };
        self.run(operation, outcome)
    }

    fn end_sessions(
        &self,
        precondition: PasswordPrecondition,
        which: Option<TokenHash>,
        outcome: Option<Outcome<bool>>,
    ) -> impl Future<Output = Result<bool>> + Send {
        self.run(
            EndSessions {
                precondition,
                which,
            },
            outcome,
        )
    }

    fn create_session(
        &self,
        session: NewSession,
        precondition: PasswordPrecondition,
        outcome: Option<Outcome<(Session, User)>>,
    ) -> impl Future<Output = Result<(Session, User)>> + Send {
        let operation = CreateSession {
            token: session.token,
            created_at: session.created_at,
            expires_at: session.expires_at,
            precondition,
        };
        self.run(operation, outcome)
    }

    fn create_api_token(
        &self,
        token: NewApiToken,
        limit: usize,
        precondition: PasswordPrecondition,
        outcome: Option<Outcome<ApiToken>>,
    ) -> impl Future<Output = Result<ApiToken>> + Send {
        let operation = CreateApiToken {
            name: token.name,
            token: token.token,
            name_in_token: token.name_in_token,
            created_at: token.created_at,
            expires_at: token.expires_at,
            limit,
            precondition,
        };
        self.run(operation, outcome)
    }

    fn delete_api_token(
        &self,
        session: TokenHash,
        id: ApiTokenId,
        outcome: Option<Outcome<Option<ApiToken>>>,
    ) -> impl Future<Output = Result<Option<ApiToken>>> + Send {
        self.run(DeleteApiToken { session, id }, outcome)
    }

    fn replace_api_token_record(
        &self,
        user_id: UserId,
        id: ApiTokenId,
        from: PasswordRecord,
        to: TokenHash,
    ) -> impl Future<Output = Result<()>> + Send {
        let operation = ReplaceApiTokenRecord {
            user_id,
            id,
            from,
            to,
        };
        self.run(operation, None)
    }

    fn delete_session(
        &self,
        token: &TokenHash,
        rules: SessionRules,
        outcome: Option<Outcome<bool>>,
    ) -> impl Future<Output = Result<bool>> + Send {
        self.run(
            DeleteSession {
                token: *token,
                rules,
            },
            outcome,
        )
    }

    fn touch_session(&self, token: &TokenHash, at: Timestamp, step: TimeDelta) {
        let operation = TouchSession {
            token: *token,
            at,
            step,
        };
        self.post(operation);
    }

    fn sweep_sessions(
        &self,
        after: Option<TokenHash>,
        limit: usize,
        rules: SessionRules,
    ) -> impl Future<Output = Result<SweepStep>> + Send {
        async move {
            let (tokens, next) = self.dead_sessions(after, limit, rules).await?;
            let removed = self.run(RemoveDeadSessions { tokens, rules }, None).await?;
            Ok(SweepStep { removed, next })
        }
    }

    fn forget_failures(&self, attempted: Attempted) -> impl Future<Output = Result<()>> + Send {
        self.run(ForgetFailures { attempted }, None)
    }

    fn update_user(
        &self,
        username: &str,
        update: AdminUpdate,
    ) -> impl Future<Output = Result<User>> + Send {
        let operation = UpdateUser {
            username: username.to_owned(),
            update,
        };
        self.run(operation, None)
    }

    fn set_hash_key(&self, sealed: Vec<u8>) -> impl Future<Output = Result<()>> + Send {
        self.run(SetHashKey { sealed }, None)
    }

    fn drop_expired_tokens(&self, user: UserId, now: Timestamp) {
        self.post(DropExpiredTokens { user_id: user, now });
    }

    fn reseal(&self, items: Vec<Resealed>) -> impl Future<Output = Result<()>> + Send {
        self.run(Reseal { items }, None)
    }
}

impl<S: Store + ?Sized> Changes for S {}
