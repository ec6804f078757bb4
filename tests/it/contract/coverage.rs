//! The contract's table "The nine actions", extended by the actions that Platypush does not have.
//! Tests check that everything in it has a case.

use std::collections::BTreeSet;

use platypush_userd::actions::ACTIONS;
use serde_json::Value;

use super::actions::CASES;
use super::case::{Answer, Case, by_position};
use super::stage::Fixture;

/// A row of the table.
pub struct Row {
    action: &'static str,
    /// Names and defaults, in positional order.
    pub parameters: &'static [(&'static str, Option<Value>)],
    /// Answers that are not objects, as JSON.
    answers: &'static [&'static str],
    errors: &'static [&'static str],
}

const REQUIRED: Option<Value> = None;
const NONE: Option<Value> = Some(Value::Null);
const FALSE: Option<Value> = Some(Value::Bool(false));

/// Parameters of an action that requires password and code.
const CREDENTIALS: &[(&str, Option<Value>)] = &[
    ("username", REQUIRED),
    ("password", REQUIRED),
    ("code", NONE),
];

static CONTRACT: &[Row] = &[
    Row {
        action: "create_user",
        parameters: &[
            ("username", REQUIRED),
            ("password", REQUIRED),
            ("executing_user", NONE),
            ("executing_user_password", NONE),
            ("session_token", NONE),
        ],
        answers: &[],
        errors: &[
            "You need to authenticate in order to create another user",
            "Invalid credentials and/or session_token",
            "The user alice already exists",
            "Invalid or empty username",
            "Please provide a password for the user",
            "'foo' is an invalid keyword argument for User",
        ],
    },
    Row {
        action: "authenticate_user",
        parameters: &[
            ("username", REQUIRED),
            ("password", REQUIRED),
            ("code", NONE),
            ("return_details", FALSE),
        ],
        answers: &[
            "true",
            "false",
            r#"[true,""]"#,
            r#"[false,"invalid_credentials"]"#,
            r#"[false,"invalid_otp_code"]"#,
            r#"[false,"missing_otp_code"]"#,
        ],
        errors: &[],
    },
    Row {
        action: "update_password",
        parameters: &[
            ("username", REQUIRED),
            ("old_password", REQUIRED),
            ("new_password", REQUIRED),
            ("code", NONE),
            ("revoke_sessions", FALSE),
        ],
        answers: &["true", "false"],
        errors: &["Please provide a password for the user"],
    },
    Row {
        action: "delete_user",
        parameters: &[
            ("username", REQUIRED),
            ("executing_user", NONE),
            ("executing_user_password", NONE),
            ("session_token", NONE),
        ],
        answers: &["true"],
        errors: &[
            "Invalid credentials and/or session_token",
            "No such user: bob",
        ],
    },
    Row {
        action: "create_session",
        parameters: &[
            ("username", REQUIRED),
            ("password", REQUIRED),
            ("code", NONE),
            ("expires_at", NONE),
        ],
        answers: &[],
        errors: &[
            "Invalid credentials",
            "missing_otp_code",
            "invalid_otp_code",
            "Invalid isoformat string: 'garbage'",
        ],
    },
    Row {
        action: "authenticate_session",
        parameters: &[("session_token", REQUIRED)],
        answers: &[],
        errors: &["Invalid session token"],
    },
    Row {
        action: "delete_session",
        parameters: &[("session_token", REQUIRED)],
        answers: &["true", "false"],
        errors: &[],
    },
    Row {
        action: "get_users",
        parameters: &[],
        answers: &[],
        errors: &[],
    },
    Row {
        action: "get_user_by_session",
        parameters: &[("session_token", REQUIRED)],
        answers: &[],
        errors: &["No user associated with the specified session token"],
    },
    Row {
        action: "enable_otp",
        parameters: &[
            ("username", REQUIRED),
            ("password", REQUIRED),
            ("otp_secret", NONE),
            ("code", NONE),
            ("dry_run", FALSE),
        ],
        answers: &[],
        errors: &[
            "Invalid credentials",
            "missing_otp_code",
            "invalid_otp_code: this is no code of the otp_secret at ",
            "otp_secret must be base32 of 128 to 512 bits (26 to 103 characters): call enable_otp with dry_run to get one",
            "2FA is already enabled for otto: disable it first",
        ],
    },
    Row {
        action: "disable_otp",
        parameters: CREDENTIALS,
        answers: &["true"],
        errors: &[
            "Invalid credentials",
            "missing_otp_code",
            "invalid_otp_code",
            "2FA is not enabled for alice",
        ],
    },
    Row {
        action: "refresh_backup_codes",
        parameters: CREDENTIALS,
        answers: &[],
        errors: &[
            "Invalid credentials",
            "missing_otp_code",
            "invalid_otp_code",
            "2FA is not enabled for alice",
        ],
    },
    Row {
        action: "get_sessions",
        parameters: &[("session_token", REQUIRED)],
        answers: &[],
        errors: &["Invalid session token"],
    },
    Row {
        action: "delete_sessions",
        parameters: &[
            ("username", REQUIRED),
            ("password", REQUIRED),
            ("code", NONE),
            ("session_id", NONE),
        ],
        answers: &["true", "false"],
        errors: &[
            "Invalid credentials",
            "missing_otp_code",
            "invalid_otp_code",
        ],
    },
    Row {
        action: "create_api_token",
        parameters: &[
            ("username", REQUIRED),
            ("password", REQUIRED),
            ("code", NONE),
            ("name", NONE),
            ("expires_at", NONE),
        ],
        answers: &[],
        errors: &[
            "Invalid credentials",
            "missing_otp_code",
            "invalid_otp_code",
            "An API token named script already exists",
            "Invalid isoformat string: 'garbage'",
        ],
    },
    Row {
        action: "authenticate_api_token",
        parameters: &[("token", REQUIRED)],
        answers: &[],
        errors: &["Invalid API token"],
    },
    Row {
        action: "get_api_tokens",
        parameters: &[("session_token", REQUIRED)],
        answers: &[],
        errors: &["Invalid session token"],
    },
    Row {
        action: "delete_api_token",
        parameters: &[("session_token", REQUIRED), ("id", REQUIRED)],
        answers: &["true", "false"],
        errors: &[
            "Invalid session token",
            "'id' must be a whole number from 1 on, not none",
        ],
    },
];

/// Returns the contract's row for an action.
pub fn row(action: &str) -> &'static Row {
    CONTRACT
        .iter()
        .find(|row| row.action == action)
        .unwrap_or_else(|| panic!("{action} is not in the contract's table"))
}

fn cases(action: &str) -> impl Iterator<Item = &'static Case> {
    CASES
        .iter()
        .filter(move |(name, _)| *name == action)
        .flat_map(|(_, cases)| *cases)
}

/// Actions, parameters and their order are those of the contract.
#[test]
fn signatures_are_those_of_the_contract() {
    let actual: Vec<_> = ACTIONS
        .iter()
        .map(|action| {
            let signature = action.signature();
            let parameters = signature.parameters.iter();
            let parameters: Vec<_> = parameters.map(|p| (p.name, p.required)).collect();
            (signature.name, parameters)
        })
        .collect();
    let expected: Vec<_> = CONTRACT
        .iter()
        .map(|row| {
            let parameters = row.parameters.iter();
            let parameters = parameters.map(|(name, default)| (*name, default.is_none()));
            (row.action, parameters.collect())
        })
        .collect();
    assert_eq!(actual, expected);
}

/// Every action has cases. Each of its parameters is passed in one of them, by keyword and by
/// position. Each of its answers and error texts is expected by one.
#[test]
fn everything_has_a_case() {
    let mut missing = Vec::new();
    for action in ACTIONS {
        let signature = action.signature();
        if cases(signature.name).next().is_none() {
            missing.push(format!("{}: any case", signature.name));
        }
        let exercised = exercised(signature.name);
        for (position, parameter) in signature.parameters.iter().enumerate() {
            if !exercised.keywords.contains(parameter.name) {
                missing.push(format!("{}: {}", signature.name, parameter.name));
            }
            if !exercised.positions.contains(&position) {
                missing.push(format!("{}: position {position}", signature.name));
            }
        }
        let row = row(signature.name);
        let expected = row.answers.iter().chain(row.errors);
        for outcome in expected.filter(|outcome| !exercised.outcomes.contains(**outcome)) {
            missing.push(format!("{}: {outcome}", signature.name));
        }
    }
    assert_eq!(missing, Vec::<String>::new(), "without a case");
}

/// Parameters and outcomes that the cases of an action cover.
#[derive(Default)]
struct Exercised {
    keywords: BTreeSet<String>,
    positions: BTreeSet<usize>,
    outcomes: BTreeSet<String>,
}

fn exercised(action: &str) -> Exercised {
    let fixture = Fixture::default();
    let mut exercised = Exercised::default();
    for case in cases(action) {
        let args = (case.args)(&fixture);
        let given = |value: &Value| !value.is_null();
        for (name, value) in args.as_object().unwrap() {
            if given(value) {
                exercised.keywords.insert(name.clone());
            }
        }
        if let Some(Value::Array(values)) = by_position(action, &args) {
            let positions = values.iter().enumerate();
            let positions = positions.filter(|(_, value)| given(value));
            exercised.positions.extend(positions.map(|(n, _)| n));
        }
        exercised.outcomes.insert(match &case.answer {
            Answer::Output(output) => output(&fixture).to_string(),
            Answer::Error(text) | Answer::ErrorBeginning(text) => (*text).to_owned(),
            Answer::ErrorOf(text) => text(&fixture),
        });
    }
    exercised
}

/// The names of the cases of an action are unique, and every action in the table exists.
#[test]
fn cases_have_unique_names_and_existing_actions() {
    for (action, cases) in CASES {
        assert!(
            ACTIONS
                .iter()
                .any(|known| known.signature().name == *action),
            "there is no action {action}"
        );
        let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len(), "{action}: a duplicate name");
    }
}
