//! The model: what must be true of one person, and so what the reply to each
//! request must be.
//!
//! Nobody else touches the person, and one request about it is under way at a
//! time, so each request has exactly one right answer.

use serde_json::{Value, json};

use crate::random::Random;

/// Sessions of one person that are kept open, and dead ones remembered.
const MOST_SESSIONS: usize = 4;

/// Somebody who may be a user.
pub struct Person {
    pub name: String,
    pub account: Option<Account>,
    /// Tokens that must not be valid (any more).
    pub dead: Vec<String>,
    passwords: usize,
}

/// A user as it must be.
pub struct Account {
    pub user_id: u64,
    pub password: String,
    pub sessions: Vec<String>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Deed {
    Create { password: String },
    CreateAgain,
    CreateAsNobody,
    Login { password: String },
    Open,
    OpenWrongly,
    Check { token: String },
    Look { token: String },
    Change { to: String },
    ChangeWrongly,
    Close { token: String },
    Delete,
}

/// Whether a request was refused because too many wait: then nothing was done.
pub fn is_busy(response: &Value) -> bool {
    let error = response["errors"][0].as_str().unwrap_or_default();
    error.starts_with("Too busy, retry in ")
}

impl Deed {
    /// Whether it costs a hash, and so may be refused as too busy.
    const fn waits_for_a_turn(&self) -> bool {
        match self {
            Self::Create { .. }
            | Self::CreateAgain
            | Self::CreateAsNobody
            | Self::Login { .. }
            | Self::Open
            | Self::OpenWrongly
            | Self::Change { .. }
            | Self::ChangeWrongly => true,
            Self::Check { .. } | Self::Look { .. } | Self::Close { .. } | Self::Delete => false,
        }
    }

    /// Beside the error of a refusal stands what wrong credentials get.
    fn judge_refusal(&self, response: &Value) -> Result<(), String> {
        let output = match self {
            Self::Login { .. } | Self::Change { .. } | Self::ChangeWrongly => json!(false),
            _ => json!({"success": false}),
        };
        let right = json!({"output": output, "errors": [response["errors"][0]]});
        if *response == right {
            Ok(())
        } else {
            Err(format!("must be {right}"))
        }
    }
}

impl Person {
    pub fn new(name: String, random: &mut Random) -> Self {
        Self {
            name,
            account: None,
            dead: vec![format!("{:032x}{:032x}", random.next(), random.next())],
            passwords: 0,
        }
    }

    /// Something to ask for next.
    pub fn plan(&mut self, random: &mut Random) -> Deed {
        let percent = random.below(100);
        let fresh = format!(
            "{}'s \"{}\" p\\ä{}",
            self.name,
            random.next(),
            self.passwords
        );
        self.passwords += 1;
        let wrong = Deed::Login {
            password: format!("not {fresh}"),
        };
        let dead = random.pick(&self.dead).clone();
        let Some(account) = &self.account else {
            return match percent {
                0..60 => Deed::Create { password: fresh },
                60..70 => wrong,
                70..80 => Deed::Delete,
                80..85 => Deed::CreateAsNobody,
                85..90 => Deed::Look { token: dead },
                90..95 => Deed::Close { token: dead },
                _ => Deed::Check { token: dead },
            };
        };
        let token = if account.sessions.is_empty() {
            dead.clone()
        } else {
            random.pick(&account.sessions).clone()
        };
        match percent {
            0..10 => Deed::Login {
                password: account.password.clone(),
            },
            10..15 => wrong,
            15..35 if account.sessions.len() < MOST_SESSIONS => Deed::Open,
            35..40 => Deed::OpenWrongly,
            15..50 => Deed::Check { token },
            50..55 => Deed::Check { token: dead },
            55..60 => Deed::Look { token },
            60..63 => Deed::Look { token: dead },
            63..75 => Deed::Change { to: fresh },
            75..78 => Deed::ChangeWrongly,
            78..88 => Deed::Close { token },
            88..91 => Deed::Close { token: dead },
            91..94 => Deed::CreateAgain,
            _ => Deed::Delete,
        }
    }

    /// The action and its arguments. `admin` is a session that may do all.
    pub fn request(&self, deed: &Deed, admin: &str) -> (&'static str, Value) {
        let name = &self.name;
        let password = self.account.as_ref().map(|account| &account.password);
        match deed {
            Deed::Create { password } => (
                "create_user",
                json!({"username": name, "password": password, "session_token": admin}),
            ),
            Deed::CreateAgain => (
                "create_user",
                json!({"username": name, "password": "new", "session_token": admin}),
            ),
            Deed::CreateAsNobody => ("create_user", json!({"username": name, "password": "new"})),
            Deed::Login { password } => ("authenticate_user", json!([name, password])),
            Deed::Open => (
                "create_session",
                json!({"username": name, "password": password}),
            ),
            Deed::OpenWrongly => (
                "create_session",
                json!({"username": name, "password": "wrong"}),
            ),
            Deed::Check { token } => ("authenticate_session", json!({"session_token": token})),
            Deed::Look { token } => ("get_user_by_session", json!([token])),
            Deed::Change { to } => ("update_password", json!([name, password, to])),
            Deed::ChangeWrongly => ("update_password", json!([name, "wrong", "new"])),
            Deed::Close { token } => ("delete_session", json!({"session_token": token})),
            Deed::Delete => (
                "delete_user",
                json!({"username": name, "session_token": admin}),
            ),
        }
    }

    /// Holds a response (`{"output": …, "errors": …}`) against what it must
    /// be, and notes the effect that it tells of.
    ///
    /// # Errors
    /// With what it should have been.
    pub fn judge(&mut self, deed: &Deed, response: &Value) -> Result<(), String> {
        if deed.waits_for_a_turn() && is_busy(response) {
            return deed.judge_refusal(response);
        }
        let right = self.right_answer(deed, response);
        if *response != right {
            return Err(format!("must be {right}"));
        }
        self.note(deed, &response["output"]);
        Ok(())
    }

    /// The response that is due; what only the daemon can know (ids, times and
    /// tokens it makes) is taken from `given`.
    fn right_answer(&self, deed: &Deed, given: &Value) -> Value {
        let output = &given["output"];
        let text = |key: &str| output[key].as_str().unwrap_or("(none)");
        let flag = |flag: bool| json!({"output": flag, "errors": []});
        let error = |text: &str| json!({"output": {"success": false}, "errors": [text]});
        match (deed, &self.account) {
            (Deed::Create { .. }, None) => {
                let id = output["user_id"].as_u64().unwrap_or(0).max(1);
                json!({"output": self.user(id, text("created_at")), "errors": []})
            }
            (Deed::Create { .. } | Deed::CreateAgain, _) => {
                error(&format!("The user {} already exists", self.name))
            }
            (Deed::CreateAsNobody, _) => {
                error("You need to authenticate in order to create another user")
            }
            (Deed::Login { password }, account) => flag(
                account
                    .as_ref()
                    .is_some_and(|account| account.password == *password),
            ),
            (Deed::Open, Some(account)) => {
                let token = text("session_token");
                let fresh = token.len() >= 32
                    && !account
                        .sessions
                        .iter()
                        .chain(&self.dead)
                        .any(|known| known == token);
                let token = if fresh { token } else { "(a new token)" };
                json!({"output": {"session_token": token, "user_id": account.user_id,
                    "username": self.name, "created_at": text("created_at"), "expires_at": null},
                    "errors": []})
            }
            (Deed::Open | Deed::OpenWrongly, _) => error("Invalid credentials"),
            (Deed::Check { token }, _) => match self.owner(token) {
                Some(id) => {
                    json!({"output": self.user(id, text("created_at")), "errors": []})
                }
                None => error("Invalid session token"),
            },
            (Deed::Look { token }, _) => match self.owner(token) {
                Some(id) => {
                    let mut user = self.user(id, text("created_at"));
                    user["has_2fa"] = false.into();
                    json!({"output": user, "errors": []})
                }
                None => error("No user associated with the specified session token"),
            },
            (Deed::Change { .. }, account) => flag(account.is_some()),
            (Deed::ChangeWrongly, _) => flag(false),
            (Deed::Close { token }, _) => flag(self.owner(token).is_some()),
            (Deed::Delete, Some(_)) => flag(true),
            (Deed::Delete, None) => error(&format!("No such user: {}", self.name)),
        }
    }

    fn user(&self, id: u64, created_at: &str) -> Value {
        json!({"user_id": id, "username": self.name, "created_at": created_at})
    }

    /// Id of the user, if the token is one of its sessions.
    fn owner(&self, token: &str) -> Option<u64> {
        let account = self.account.as_ref()?;
        account
            .sessions
            .iter()
            .any(|session| session == token)
            .then_some(account.user_id)
    }

    /// Changes the model as an effective request changes the world.
    pub fn note(&mut self, deed: &Deed, output: &Value) {
        match (deed, &mut self.account) {
            (Deed::Create { password }, account @ None) => {
                *account = Some(Account {
                    user_id: output["user_id"].as_u64().unwrap_or(0),
                    password: password.clone(),
                    sessions: Vec::new(),
                });
            }
            (Deed::Open, Some(account)) => {
                let token = output["session_token"].as_str().unwrap_or_default();
                account.sessions.push(token.to_owned());
            }
            (Deed::Change { to }, Some(account)) => account.password.clone_from(to),
            (Deed::Close { token }, Some(account)) => {
                account.sessions.retain(|session| session != token);
                self.bury([token.clone()]);
            }
            (Deed::Delete, Some(_)) => {
                let sessions = self.account.take().map(|account| account.sessions);
                self.bury(sessions.unwrap_or_default());
            }
            _ => {}
        }
    }

    fn bury(&mut self, tokens: impl IntoIterator<Item = String>) {
        for token in tokens {
            if !self.dead.contains(&token) {
                self.dead.push(token);
            }
        }
        let surplus = self.dead.len().saturating_sub(MOST_SESSIONS);
        self.dead.drain(..surplus);
    }

    /// Everything that can be asked to see whether the world is as the model.
    pub fn inspections(&self) -> Vec<Deed> {
        let password = self
            .account
            .as_ref()
            .map(|account| account.password.clone());
        let sessions = self.account.iter().flat_map(|account| &account.sessions);
        let tokens = sessions.chain(&self.dead).cloned();
        let login = Deed::Login {
            password: password.unwrap_or_else(|| "any".into()),
        };
        std::iter::once(login)
            .chain(tokens.map(|token| Deed::Check { token }))
            .collect()
    }
}
