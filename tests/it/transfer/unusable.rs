//! Records that must not be imported: tokens that bcrypt has truncated, and times that a reply
//! cannot represent.

use std::path::Path;
use std::sync::Arc;

use chrono::DateTime;
use platypush_userd::clock::Timestamp;
use platypush_userd::model::{ApiToken, ApiTokenRecord, PasswordRecord, Session, TokenHash, User};
use platypush_userd::store::{ImportBatch, Store as _};
use serde_json::json;

use super::export::Export;
use super::{Node, import, log_in, token_owner, usernames};
use crate::admin::Way;
use crate::store_changes::Changes as _;
use crate::store_conformance::bench::wait;
use crate::support::{Setup, open_store, wait_until_closed};

/// bcrypt hash of 72 times `x`, and of any text that begins so.
const BCRYPT_72: &str = "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i";

/// bcrypt hash of 71 times `x` and a colon, and of any text that begins so.
const BCRYPT_71_AND_COLON: &str = "$2b$04$abcdefghijklmnopqrstuusUGZ6oNKkqx4E9bod4pMcx1z4IASruW";

fn noon() -> Timestamp {
    DateTime::from_timestamp(1_795_521_600, 0).unwrap()
}

fn year_12000() -> Timestamp {
    DateTime::from_timestamp(316_516_204_800, 0).unwrap()
}

fn bcrypt_record() -> PasswordRecord {
    PasswordRecord::new(BCRYPT_72.into())
}

fn imported_token(name: &str, expires_at: Option<Timestamp>) -> ApiToken {
    ApiToken {
        id: 0,
        name: name.into(),
        created_at: noon(),
        expires_at,
        record: ApiTokenRecord::Imported(bcrypt_record()),
    }
}

/// Imports users directly into the store, without the checks that earlier versions lacked.
fn store(setup: &mut Setup, mut users: Vec<User>, sessions: Vec<Session>) {
    assert!(setup.daemon.stop().success());
    let store = open_store(&setup.daemon.workdir()).unwrap();
    let before = wait(store.next_ids()).unwrap();
    let mut after = before;
    for user in &mut users {
        user.id = after.user;
        after.user += 1;
        for token in &mut user.api_tokens {
            token.id = after.api_token;
            after.api_token += 1;
        }
    }
    let batch = ImportBatch {
        before,
        after,
        users,
        sessions,
        hash_key: None,
        progress: Arc::default(),
    };
    wait(store.import(batch)).unwrap();
    drop(store);
    wait_until_closed(&setup.daemon.workdir());
    setup.daemon.restart();
}

fn user_of(setup: &mut Setup, name: &str) -> User {
    assert!(setup.daemon.stop().success());
    let user = stored(&setup.daemon.workdir(), name);
    setup.daemon.restart();
    user
}

fn stored(workdir: &Path, name: &str) -> User {
    let store = open_store(workdir).unwrap();
    let user = wait(store.user_by_name(name)).unwrap().unwrap();
    drop(store);
    wait_until_closed(workdir);
    user
}

/// Regression: for a name of 72 bytes, a token with any ending was accepted, and it replaced the
/// imported token.
#[test]
fn a_token_truncated_by_bcrypt_is_rejected() {
    let name = "x".repeat(72);
    let mut setup = Setup::new();
    let mut user = User::new(1, name.clone(), noon(), bcrypt_record());
    user.api_tokens = vec![imported_token("cut", None)];
    store(&mut setup, vec![user], Vec::new());
    for ending in ["anything", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        assert_eq!(token_owner(&mut setup, &format!("{name}:{ending}")), None);
    }
    let tokens = user_of(&mut setup, &name).api_tokens;
    assert_eq!(tokens[0].record, ApiTokenRecord::Imported(bcrypt_record()));
}

/// Regression: for a name of 71 bytes, bcrypt had hashed the name and the colon, which are 72
/// bytes, and nothing of the secret part: the name and a colon were accepted as the token.
#[test]
fn the_part_of_a_token_that_bcrypt_has_hashed_is_rejected() {
    let name = "x".repeat(71);
    let cut = ApiTokenRecord::Imported(PasswordRecord::new(BCRYPT_71_AND_COLON.into()));
    let mut setup = Setup::new();
    let mut user = User::new(1, name.clone(), noon(), bcrypt_record());
    user.api_tokens = vec![ApiToken {
        record: cut.clone(),
        ..imported_token("cut", None)
    }];
    store(&mut setup, vec![user], Vec::new());
    assert_eq!(token_owner(&mut setup, &format!("{name}:")), None);
    assert_eq!(user_of(&mut setup, &name).api_tokens[0].record, cut);
}

/// Regression: the first password with the same 72 bytes replaced the record, so the right
/// password, with another ending, was rejected from then on.
#[test]
fn a_password_truncated_by_bcrypt_never_replaces_the_record() {
    let mut setup = Setup::new();
    let user = |id, name: &str| User::new(id, name.into(), noon(), bcrypt_record());
    store(
        &mut setup,
        vec![user(1, "long"), user(2, "whole")],
        Vec::new(),
    );
    let right = json!([true, ""]);
    for ending in ["y", "zz", "the right one"] {
        let password = format!("{}{ending}", "x".repeat(72));
        assert_eq!(log_in(&mut setup, "long", &password, None), right);
        assert_eq!(user_of(&mut setup, "long").password, bcrypt_record());
    }
    let whole = "x".repeat(72);
    assert_eq!(log_in(&mut setup, "whole", &whole, None), right);
    assert_ne!(user_of(&mut setup, "whole").password, bcrypt_record());
    let longer = format!("{whole}y");
    let wrong = json!([false, "invalid_credentials"]);
    assert_eq!(log_in(&mut setup, "whole", &longer, None), wrong);
}

#[test]
fn truncated_tokens_and_invalid_years_of_a_node_are_skipped() {
    let node = Node::copy("workdir");
    let name = "n".repeat(40);
    node.change(&format!(
        "UPDATE user SET username = '{name}' WHERE username = 'legacy'"
    ));
    node.change(
        "UPDATE user_session SET expires_at = '+12000-01-01 00:00:00' WHERE rowid = \
         (SELECT min(rowid) FROM user_session)",
    );
    let mut setup = Setup::new();
    let report = import(&mut setup, Way::Daemon, &node, &[]).ok();
    let cut = format!("of user {name:?} (row ");
    let left = |parts: &[&str]| {
        let mut lines = report.lines();
        lines.any(|line| parts.iter().all(|part| line.contains(part)))
    };
    assert!(
        left(&["API token", &cut, "bcrypt hashes only the first 72 bytes"]),
        "{report}"
    );
    let year = "its expires_at is outside the years 1 to 9999";
    assert!(left(&["session", year]), "{report}");
    assert!(report.contains("Imported 8 of 8 users."), "{report}");
}

/// An earlier version imported such records from nodes.
#[test]
fn truncated_tokens_and_invalid_years_of_an_export_are_skipped() {
    let long = "x".repeat(72);
    let user = |name: &str| User::new(0, name.into(), noon(), bcrypt_record());
    let mut bob = user("bob");
    bob.api_tokens = vec![
        imported_token("fits", None),
        imported_token("late", Some(year_12000())),
    ];
    let mut cut = user(&long);
    cut.api_tokens = vec![imported_token("cut", None)];
    let mut renamed = user(&"y".repeat(72));
    renamed.token_names = vec![long.clone()];
    renamed.api_tokens = vec![imported_token("of long ago", None)];
    // The token may have been created under the short name.
    let mut shortened = user("shortened");
    shortened.token_names = vec![long.clone()];
    shortened.api_tokens = vec![imported_token("of either name", None)];
    let mut from_the_future = user("from the future");
    from_the_future.created_at = year_12000();
    let session = Session {
        token: TokenHash([7; 32]),
        user_id: 1,
        generation: 0,
        created_at: noon(),
        expires_at: Some(year_12000()),
        used_at: noon(),
    };
    let mut from = Setup::new();
    let users = vec![bob, cut, renamed, shortened, from_the_future];
    store(&mut from, users, vec![session]);
    let export = Export::of(&mut from, Way::Daemon);
    let mut to = Setup::new();
    let report = export.import_into(&mut to, Way::Daemon, &[]).ok();
    let left: Vec<_> = report
        .lines()
        .skip_while(|line| *line != "Not imported:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| line.trim().split_once(": ").unwrap())
        .collect();
    let year = |column: &str| format!("its {column} is outside the years 1 to 9999");
    let whats: Vec<_> = left.iter().map(|(what, _)| *what).collect();
    let longer = "y".repeat(72);
    let [of_bob, of_long] = ["bob", &long].map(|name| format!("of user {name:?}"));
    assert_eq!(
        whats,
        [
            format!("API token \"late\" {of_bob} (line 2)"),
            format!("API token \"cut\" {of_long} (line 3)"),
            format!("API token \"of long ago\" of user {longer:?} (line 4)"),
            "user \"from the future\" (line 6)".into(),
            format!("session {of_bob} (line 7)"),
        ]
    );
    assert_eq!(left[0].1, year("expires_at"));
    assert_eq!(left[3].1, year("created_at"));
    assert_eq!(left[4].1, year("expires_at"));
    assert_eq!(usernames(&mut to), ["bob", &long, &longer, "shortened"]);
    assert_eq!(user_of(&mut to, "shortened").api_tokens.len(), 1);
    let tokens = user_of(&mut to, "bob").api_tokens;
    let names: Vec<_> = tokens.iter().map(|token| token.name.as_str()).collect();
    assert_eq!(names, ["fits"]);
}
