//! Model of one user: the state that the daemon must have, and so the expected response to each
//! request.
//!
//! Only one actor uses a user, with one request in flight at a time. So each request has exactly
//! one correct response.

use serde_json::{Value, json};

use crate::random::Random;

/// Maximum number of open sessions of a user, and of invalid tokens that the model keeps.
const MAX_SESSIONS: usize = 4;

/// The model of a user, who exists in the daemon while `account` is set.
pub struct UserModel {
    pub name: String,
    pub account: Option<Account>,
    /// Tokens that must be invalid: deleted ones and a random one.
    pub invalid_tokens: Vec<String>,
    passwords: usize,
}

/// The expected state of an existing user.
pub struct Account {
    pub user_id: u64,
    pub password: String,
    pub sessions: Vec<String>,
}

/// An operation that a request asks for.
#[derive(Clone, Debug)]
pub enum Operation {
    Create { password: String },
    CreateDuplicate,
    CreateUnauthenticated,
    Login { password: String },
    CreateSession,
    CreateSessionWrongly,
    Authenticate { token: String },
    GetUser { token: String },
    ChangePassword { to: String },
    ChangePasswordWrongly,
    DeleteSession { token: String },
    Delete,
}

/// Whether a request was refused as too busy: then it had no effect.
pub fn is_busy(response: &Value) -> bool {
    let error = response["errors"][0].as_str().unwrap_or_default();
    error.starts_with("Too busy, retry in ")
}

impl Operation {
    /// Whether the operation hashes a password, and so may be refused as too busy.
    const fn is_queued_for_turn(&self) -> bool {
        match self {
            Self::Create { .. }
            | Self::CreateDuplicate
            | Self::CreateUnauthenticated
            | Self::Login { .. }
            | Self::CreateSession
            | Self::CreateSessionWrongly
            | Self::ChangePassword { .. }
            | Self::ChangePasswordWrongly => true,
            Self::Authenticate { .. }
            | Self::GetUser { .. }
            | Self::DeleteSession { .. }
            | Self::Delete => false,
        }
    }

    /// Checks a refusal as too busy. Its output must be that of wrong credentials.
    fn check_refusal(&self, response: &Value) -> Result<(), String> {
        let output = match self {
            Self::Login { .. } | Self::ChangePassword { .. } | Self::ChangePasswordWrongly => {
                json!(false)
            }
            _ => json!({"success": false}),
        };
        let expected = json!({"output": output, "errors": [response["errors"][0]]});
        if *response == expected {
            Ok(())
        } else {
            Err(format!("must be {expected}"))
        }
    }
}

impl UserModel {
    pub fn new(name: String, random: &mut Random) -> Self {
        Self {
            name,
            account: None,
            invalid_tokens: vec![format!("{:032x}{:032x}", random.next(), random.next())],
            passwords: 0,
        }
    }

    /// Chooses the next operation at random.
    pub fn plan(&mut self, random: &mut Random) -> Operation {
        let percent = random.below(100);
        let fresh = format!(
            "{}'s \"{}\" p\\ä{}",
            self.name,
            random.next(),
            self.passwords
        );
        self.passwords += 1;
        let wrong = Operation::Login {
            password: format!("not {fresh}"),
        };
        let invalid = random.pick(&self.invalid_tokens).clone();
        let Some(account) = &self.account else {
            return match percent {
                0..60 => Operation::Create { password: fresh },
                60..70 => wrong,
                70..80 => Operation::Delete,
                80..85 => Operation::CreateUnauthenticated,
                85..90 => Operation::GetUser { token: invalid },
                90..95 => Operation::DeleteSession { token: invalid },
                _ => Operation::Authenticate { token: invalid },
            };
        };
        let token = if account.sessions.is_empty() {
            invalid.clone()
        } else {
            random.pick(&account.sessions).clone()
        };
        match percent {
            0..10 => Operation::Login {
                password: account.password.clone(),
            },
            10..15 => wrong,
            15..35 if account.sessions.len() < MAX_SESSIONS => Operation::CreateSession,
            35..40 => Operation::CreateSessionWrongly,
            15..50 => Operation::Authenticate { token },
            50..55 => Operation::Authenticate { token: invalid },
            55..60 => Operation::GetUser { token },
            60..63 => Operation::GetUser { token: invalid },
            63..75 => Operation::ChangePassword { to: fresh },
            75..78 => Operation::ChangePasswordWrongly,
            78..88 => Operation::DeleteSession { token },
            88..91 => Operation::DeleteSession { token: invalid },
            91..94 => Operation::CreateDuplicate,
            _ => Operation::Delete,
        }
    }

    /// Returns the action and its arguments. `admin` is the session token of the administrator.
    pub fn request(&self, operation: &Operation, admin: &str) -> (&'static str, Value) {
        let name = &self.name;
        let password = self.account.as_ref().map(|account| &account.password);
        match operation {
            Operation::Create { password } => (
                "create_user",
                json!({"username": name, "password": password, "session_token": admin}),
            ),
            Operation::CreateDuplicate => (
                "create_user",
                json!({"username": name, "password": "new", "session_token": admin}),
            ),
            Operation::CreateUnauthenticated => {
                ("create_user", json!({"username": name, "password": "new"}))
            }
            Operation::Login { password } => ("authenticate_user", json!([name, password])),
            Operation::CreateSession => (
                "create_session",
                json!({"username": name, "password": password}),
            ),
            Operation::CreateSessionWrongly => (
                "create_session",
                json!({"username": name, "password": "wrong"}),
            ),
            Operation::Authenticate { token } => {
                ("authenticate_session", json!({"session_token": token}))
            }
            Operation::GetUser { token } => ("get_user_by_session", json!([token])),
            Operation::ChangePassword { to } => ("update_password", json!([name, password, to])),
            Operation::ChangePasswordWrongly => ("update_password", json!([name, "wrong", "new"])),
            Operation::DeleteSession { token } => {
                ("delete_session", json!({"session_token": token}))
            }
            Operation::Delete => (
                "delete_user",
                json!({"username": name, "session_token": admin}),
            ),
        }
    }

    /// Checks a response (`{"output": …, "errors": …}`) and applies the effect that it confirms.
    ///
    /// # Errors
    /// The expected response, where it differs.
    pub fn check(&mut self, operation: &Operation, response: &Value) -> Result<(), String> {
        if operation.is_queued_for_turn() && is_busy(response) {
            return operation.check_refusal(response);
        }
        let expected = self.expected_response(operation, response);
        if *response != expected {
            return Err(format!("must be {expected}"));
        }
        self.apply(operation, &response["output"]);
        Ok(())
    }

    /// Returns the expected response. Values that the daemon generates (ids, times and tokens) are
    /// taken from `actual`.
    fn expected_response(&self, operation: &Operation, actual: &Value) -> Value {
        let output = &actual["output"];
        let text = |key: &str| output[key].as_str().unwrap_or("(none)");
        let flag = |flag: bool| json!({"output": flag, "errors": []});
        let error = |text: &str| json!({"output": {"success": false}, "errors": [text]});
        match (operation, &self.account) {
            (Operation::Create { .. }, None) => {
                let id = output["user_id"].as_u64().unwrap_or(0).max(1);
                json!({"output": self.user(id, text("created_at")), "errors": []})
            }
            (Operation::Create { .. } | Operation::CreateDuplicate, _) => {
                error(&format!("The user {} already exists", self.name))
            }
            (Operation::CreateUnauthenticated, _) => {
                error("You need to authenticate in order to create another user")
            }
            (Operation::Login { password }, account) => flag(
                account
                    .as_ref()
                    .is_some_and(|account| account.password == *password),
            ),
            (Operation::CreateSession, Some(account)) => {
                let token = text("session_token");
                let fresh = token.len() >= 32
                    && !account
                        .sessions
                        .iter()
                        .chain(&self.invalid_tokens)
                        .any(|known| known == token);
                let token = if fresh { token } else { "(a new token)" };
                json!({"output": {"session_token": token, "user_id": account.user_id,
                    "username": self.name, "created_at": text("created_at"), "expires_at": null},
                    "errors": []})
            }
            (Operation::CreateSession | Operation::CreateSessionWrongly, _) => {
                error("Invalid credentials")
            }
            (Operation::Authenticate { token }, _) => match self.owner(token) {
                Some(id) => {
                    json!({"output": self.user(id, text("created_at")), "errors": []})
                }
                None => error("Invalid session token"),
            },
            (Operation::GetUser { token }, _) => match self.owner(token) {
                Some(id) => {
                    let mut user = self.user(id, text("created_at"));
                    user["has_2fa"] = false.into();
                    json!({"output": user, "errors": []})
                }
                None => error("No user associated with the specified session token"),
            },
            (Operation::ChangePassword { .. }, account) => flag(account.is_some()),
            (Operation::ChangePasswordWrongly, _) => flag(false),
            (Operation::DeleteSession { token }, _) => flag(self.owner(token).is_some()),
            (Operation::Delete, Some(_)) => flag(true),
            (Operation::Delete, None) => error(&format!("No such user: {}", self.name)),
        }
    }

    fn user(&self, id: u64, created_at: &str) -> Value {
        json!({"user_id": id, "username": self.name, "created_at": created_at})
    }

    /// Returns the id of the user if `token` is one of its sessions.
    fn owner(&self, token: &str) -> Option<u64> {
        let account = self.account.as_ref()?;
        account
            .sessions
            .iter()
            .any(|session| session == token)
            .then_some(account.user_id)
    }

    /// Applies the effect of a successful request to the model.
    pub fn apply(&mut self, operation: &Operation, output: &Value) {
        match (operation, &mut self.account) {
            (Operation::Create { password }, account @ None) => {
                *account = Some(Account {
                    user_id: output["user_id"].as_u64().unwrap_or(0),
                    password: password.clone(),
                    sessions: Vec::new(),
                });
            }
            (Operation::CreateSession, Some(account)) => {
                let token = output["session_token"].as_str().unwrap_or_default();
                account.sessions.push(token.to_owned());
            }
            (Operation::ChangePassword { to }, Some(account)) => account.password.clone_from(to),
            (Operation::DeleteSession { token }, Some(account)) => {
                account.sessions.retain(|session| session != token);
                self.invalidate([token.clone()]);
            }
            (Operation::Delete, Some(_)) => {
                let sessions = self.account.take().map(|account| account.sessions);
                self.invalidate(sessions.unwrap_or_default());
            }
            _ => {}
        }
    }

    fn invalidate(&mut self, tokens: impl IntoIterator<Item = String>) {
        for token in tokens {
            if !self.invalid_tokens.contains(&token) {
                self.invalid_tokens.push(token);
            }
        }
        let surplus = self.invalid_tokens.len().saturating_sub(MAX_SESSIONS);
        self.invalid_tokens.drain(..surplus);
    }

    /// Returns the operations that read all state of the user that clients can see.
    pub fn inspections(&self) -> Vec<Operation> {
        let password = self
            .account
            .as_ref()
            .map(|account| account.password.clone());
        let sessions = self.account.iter().flat_map(|account| &account.sessions);
        let tokens = sessions.chain(&self.invalid_tokens).cloned();
        let login = Operation::Login {
            password: password.unwrap_or_else(|| "any".into()),
        };
        std::iter::once(login)
            .chain(tokens.map(|token| Operation::Authenticate { token }))
            .collect()
    }
}
