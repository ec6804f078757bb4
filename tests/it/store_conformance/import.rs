//! Import of users, and the pages that an export reads.

use platypush_userd::model::{
    ApiToken, ApiTokenRecord, ImportedCode, Origin, SecretFingerprint, Session, TokenHash,
    UsedSecret, User,
};
use platypush_userd::store::{ImportBatch, NextIds, StoreError};

use super::Engine;
use super::bench::{Bench, assert_fails, factor, noon, proof, record, token, wait};
use crate::store_changes::Changes as _;

fn user(id: u64, name: &str) -> User {
    User {
        origin: Some(Origin([id as u8; 16])),
        ..User::new(id, name.into(), noon(), record(name))
    }
}

/// Returns a user with all optional data.
fn full_user(id: u64, name: &str) -> User {
    let mut second_factor = factor(41);
    second_factor.imported_codes = vec![ImportedCode {
        record: record("code"),
        expires_at: Some(noon()),
    }];
    let api_token = |id, record| ApiToken {
        id,
        name: format!("token {id}"),
        created_at: noon(),
        expires_at: None,
        record,
    };
    User {
        generation: 3,
        second_factor: Some(second_factor),
        used_secrets: vec![UsedSecret {
            fingerprint: SecretFingerprint([1; 16]),
            last_step: 7,
        }],
        api_tokens: vec![
            api_token(1, ApiTokenRecord::Hash(token(1))),
            api_token(2, ApiTokenRecord::Imported(record("token"))),
        ],
        token_names: vec!["old name".into(), "older name".into()],
        ..user(id, name)
    }
}

fn session(number: u64, user: &User) -> Session {
    Session {
        token: token(number),
        user_id: user.id,
        generation: user.generation,
        created_at: noon(),
        expires_at: None,
        used_at: noon(),
    }
}

const fn ids(user: u64, api_token: u64) -> NextIds {
    NextIds { user, api_token }
}

fn batch(before: NextIds, users: Vec<User>) -> ImportBatch {
    ImportBatch {
        before,
        after: ids(before.user + users.len() as u64, before.api_token),
        sessions: users.iter().map(|user| session(user.id, user)).collect(),
        users,
        hash_key: None,
        progress: std::sync::Arc::default(),
    }
}

pub fn users_are_imported_with_all_their_data<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    bench.session(9, &alice, None);
    // A dead session that is not swept.
    let deleted = bench.user("deleted");
    bench.session(3, &deleted, None);
    bench.delete("deleted");
    let before = wait(bench.store().next_ids()).unwrap();
    assert_eq!(before, ids(3, 1));
    let imported = [user(3, "bob"), full_user(4, "carol")];
    let mut all = batch(before, imported.to_vec());
    all.after.api_token = 3;
    // The token of alice stays hers.
    all.sessions.push(session(9, &imported[0]));
    wait(bench.store().import(all)).unwrap();
    for _ in 0..2 {
        for user in &imported {
            assert_eq!(bench.read(&user.username), *user);
            let found = wait(bench.store().session(&token(user.id))).unwrap();
            assert_eq!(found, Some((session(user.id, user), user.clone().into())));
            let listed = bench.store().sessions_of(user.id, user.generation);
            assert_eq!(wait(listed).unwrap(), [session(user.id, user)]);
        }
        let of_alice = wait(bench.store().session(&token(9))).unwrap();
        assert_eq!(of_alice.unwrap().1.id, alice.id);
        assert_eq!(wait(bench.store().next_ids()).unwrap(), ids(5, 3));
        assert!(wait(bench.store().has_imported_tokens()).unwrap());
        bench.reopen();
    }
    assert_eq!(bench.user("dave").id, 5);
}

pub fn an_import_is_complete_or_has_no_effect<E: Engine>() {
    let bench = Bench::<E>::fresh();
    bench.user("alice");
    let first = batch(ids(2, 1), vec![user(2, "bob")]);
    wait(bench.store().import(first)).unwrap();
    let state = bench.state();
    let again = user(3, "bobby");
    let same_origin = User {
        origin: user(2, "").origin,
        ..again.clone()
    };
    for (what, all) in [
        (
            "a name is taken",
            batch(ids(3, 1), vec![again.clone(), user(4, "alice")]),
        ),
        (
            "an origin was imported before",
            batch(ids(3, 1), vec![user(4, "eve"), same_origin]),
        ),
        ("other user ids", batch(ids(2, 1), vec![again.clone()])),
        ("other token ids", batch(ids(3, 2), vec![again.clone()])),
        (
            "an id that was assigned before",
            batch(ids(3, 1), vec![user(2, "mallory")]),
        ),
        (
            "an id after the last one",
            batch(ids(3, 1), vec![user(4, "mallory")]),
        ),
    ] {
        assert_fails(&wait(bench.store().import(all)), &StoreError::Conflict);
        assert_eq!(bench.state(), state, "{what}");
    }
}

/// The users exceed one part.
pub fn an_interrupted_import_leaves_no_user<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("alice");
    let state = bench.state();
    let users = (2..600).map(|id| user(id, &format!("user-{id}")));
    let all = batch(ids(2, 1), users.collect());
    all.progress.interrupt();
    assert_fails(
        &wait(bench.store().import(all.clone())),
        &StoreError::Interrupted,
    );
    assert_eq!(bench.state(), state);
    bench.reopen();
    assert_eq!(bench.state(), state);

    let progress = std::sync::Arc::default();
    let all = ImportBatch {
        progress: std::sync::Arc::clone(&progress),
        ..all
    };
    wait(bench.store().import(all)).unwrap();
    assert_eq!(progress.users(), 598);
    assert_eq!(bench.user("bob").id, 600);
}

pub fn a_hash_key_is_accepted_only_by_a_new_store<E: Engine>() {
    let bench = Bench::<E>::fresh();
    let with_key = |before, id, name: &str| ImportBatch {
        hash_key: Some(b"key".to_vec()),
        ..batch(before, vec![user(id, name)])
    };
    wait(bench.store().import(with_key(ids(1, 1), 1, "alice"))).unwrap();
    assert_eq!(
        wait(bench.store().hash_key()).unwrap(),
        Some(b"key".to_vec())
    );
    let late = bench.store().import(with_key(ids(2, 1), 2, "bob"));
    assert_fails(&wait(late), &StoreError::Conflict);
}

pub fn imported_users_are_found_by_origin_and_token_name<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    let carol = full_user(2, "carol");
    let mut all = batch(ids(2, 1), vec![carol.clone()]);
    all.after.api_token = 3;
    wait(bench.store().import(all)).unwrap();
    bench.reopen();
    let by_token = |bench: &Bench<E>, name| wait(bench.store().users_by_token_name(name)).unwrap();
    let has_imported = |bench: &Bench<E>| wait(bench.store().has_imported_tokens()).unwrap();
    let by_origin = |bench: &Bench<E>| wait(bench.store().by_origin(Origin([2; 16]))).unwrap();
    assert_eq!(by_origin(&bench), Some((2, Some(carol.clone()))));
    assert_eq!(by_token(&bench, "old name"), std::slice::from_ref(&carol));
    assert_eq!(by_token(&bench, "older name").len(), 1);
    for other in ["carol", "old nam", "old name ", ""] {
        assert_eq!(by_token(&bench, other), []);
    }
    assert!(has_imported(&bench));
    let replaced = bench
        .store()
        .replace_api_token_record(2, 2, record("token"), token(9));
    wait(replaced).unwrap();
    assert!(!has_imported(&bench), "the last one was replaced");
    assert_eq!(
        by_token(&bench, "old name").len(),
        1,
        "the token still carries the name"
    );
    let twice = bench
        .store()
        .replace_api_token_record(2, 2, record("token"), token(9));
    assert_fails(&wait(twice), &StoreError::Conflict);

    let precondition = platypush_userd::store::Precondition::Password(proof(&alice));
    wait(bench.store().delete_user("carol", precondition, None)).unwrap();
    assert_eq!(by_token(&bench, "old name"), []);
    assert_eq!(by_origin(&bench), Some((2, None)), "the id is kept");
}

pub fn users_and_sessions_are_listed_in_pages<E: Engine>() {
    let bench = Bench::<E>::fresh();
    for id in 1..=9_u64 {
        let user = bench.user_with_factor(&format!("user-{id}"), id);
        let created = new_session_of(&bench, id, &user);
        assert_eq!(created.token, token(id));
    }
    bench.delete("user-5");
    bench.delete("user-6");
    let users = wait(bench.store().users()).unwrap();
    for limit in [1, 2, 3, 7, 100] {
        let mut found = Vec::new();
        let mut from = Some(0);
        while let Some(start) = from {
            let page = wait(bench.store().users_from(start, limit)).unwrap();
            assert!(page.items.len() <= limit);
            assert!(page.next.is_none_or(|next| next > start), "must advance");
            found.extend(page.items);
            from = page.next;
        }
        assert_eq!(found, users, "in pages of {limit}");

        let mut found = Vec::new();
        let mut from = Some(TokenHash([0; 32]));
        while let Some(start) = from {
            let page = wait(bench.store().sessions_from(start, limit)).unwrap();
            assert!(page.items.len() <= limit);
            found.extend(page.items);
            from = page.next;
        }
        let mut owners: Vec<_> = found.iter().map(|session| session.user_id).collect();
        owners.sort_unstable();
        assert_eq!(owners, [1, 2, 3, 4, 7, 8, 9], "in pages of {limit}");
    }
    for from in [10, u64::MAX] {
        let page = wait(bench.store().users_from(from, 1)).unwrap();
        assert_eq!((page.items, page.next), (vec![], None));
    }
}

fn new_session_of<E: Engine>(bench: &Bench<E>, number: u64, user: &User) -> Session {
    let new = super::bench::new_session(number, None);
    let user = bench.read(&user.username);
    wait(bench.store().create_session(new, proof(&user), None))
        .unwrap()
        .0
}
