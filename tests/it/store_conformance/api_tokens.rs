//! API tokens: creation, limits, look-up by name and deletion.

use platypush_userd::model::{ApiTokenRecord, User};
use platypush_userd::store::{Precondition, StoreError};

use super::Engine;
use super::bench::{Bench, assert_fails, at, noon, proof, record, token, wait};
use crate::store_changes::{Changes as _, NewApiToken};

/// Maximum number of tokens of one user in these cases.
const LIMIT: usize = 3;

fn new(name: &str, number: u64) -> NewApiToken {
    NewApiToken {
        name: name.into(),
        token: token(number),
        name_in_token: None,
        created_at: noon(),
        expires_at: None,
    }
}

fn names(user: &User) -> Vec<&str> {
    user.api_tokens.iter().map(|t| t.name.as_str()).collect()
}

fn bench_of_two<E: Engine>() -> (Bench<E>, User, User) {
    let bench = Bench::<E>::fresh();
    let [alice, bob] = ["alice", "bob"].map(|name| bench.user(name));
    (bench, alice, bob)
}

pub fn ids_of_api_tokens_are_never_reused<E: Engine>() {
    let (mut bench, alice, bob) = bench_of_two::<E>();
    bench.session(1, &bob, None);
    let make = |bench: &Bench<E>, user: &User, name: &str, number| {
        let created = bench
            .store()
            .create_api_token(new(name, number), LIMIT, proof(user), None);
        wait(created).unwrap()
    };
    let first = make(&bench, &alice, "a", 1);
    assert_eq!(
        (first.id, first.created_at, first.expires_at),
        (1, noon(), None)
    );
    assert_eq!(first.record, ApiTokenRecord::Hash(token(1)));
    let second = make(&bench, &bob, "a", 2);
    assert_eq!(second.id, 2);
    let deleted = bench.store().delete_api_token(token(1), second.id, None);
    assert_eq!(wait(deleted).unwrap(), Some(second));
    bench.reopen();
    assert_eq!(make(&bench, &bob, "a", 3).id, 3);
    assert_eq!(bench.read("alice").api_tokens, [first]);
}

pub fn names_are_unique_and_the_number_of_tokens_is_limited<E: Engine>() {
    let (bench, alice, _) = bench_of_two::<E>();
    let make = |new| {
        wait(
            bench
                .store()
                .create_api_token(new, LIMIT, proof(&alice), None),
        )
    };
    let expired = NewApiToken {
        expires_at: Some(at(1)),
        ..new("expired", 9)
    };
    make(expired).unwrap();
    for (name, number) in [("a", 1), ("b", 2), ("expired", 3)] {
        make(new(name, number)).unwrap();
    }
    assert_fails(&make(new("a", 4)), &StoreError::ApiTokenNameTaken);
    assert_fails(&make(new("c", 4)), &StoreError::TooManyApiTokens);
    assert_eq!(names(&bench.read("alice")), ["a", "b", "expired"]);
    let mut wrong = proof(&alice);
    wrong.record = record("other");
    let refused = bench.store().create_api_token(new("c", 4), 9, wrong, None);
    assert_fails(&wait(refused), &StoreError::Conflict);
}

/// The name is found until the user has no API token left.
pub fn users_are_found_by_the_name_in_a_token<E: Engine>() {
    let (mut bench, alice, bob) = bench_of_two::<E>();
    bench.session(1, &alice, None);
    let found = |bench: &Bench<E>| -> Vec<_> {
        let users = wait(bench.store().users_by_token_name("other")).unwrap();
        users.into_iter().map(|user| user.id).collect()
    };
    let make = |bench: &Bench<E>, user: &User, name: &str, number| {
        let new = NewApiToken {
            name_in_token: Some("other".into()),
            ..new(name, number)
        };
        wait(
            bench
                .store()
                .create_api_token(new, LIMIT, proof(user), None),
        )
        .unwrap()
    };
    assert_eq!(found(&bench), [0; 0]);
    let ids = ["a", "b"].map(|name| make(&bench, &alice, name, 1).id);
    make(&bench, &bob, "a", 2);
    bench.reopen();
    assert_eq!(found(&bench), [alice.id, bob.id]);
    for (id, left) in [(ids[0], &[alice.id, bob.id][..]), (ids[1], &[bob.id])] {
        wait(bench.store().delete_api_token(token(1), id, None)).unwrap();
        assert_eq!(found(&bench), left);
    }
    let precondition = Precondition::Password(proof(&alice));
    wait(bench.store().delete_user("bob", precondition, None)).unwrap();
    bench.reopen();
    assert_eq!(found(&bench), [0; 0]);
}

pub fn only_a_session_of_the_user_deletes_a_token<E: Engine>() {
    let (mut bench, alice, bob) = bench_of_two::<E>();
    bench.session(1, &alice, None);
    bench.session(2, &bob, None);
    let id = bench.api_token("a", &alice).id;
    let delete = |session, id| wait(bench.store().delete_api_token(token(session), id, None));
    assert_eq!(delete(2, id).unwrap(), None, "token of another user");
    assert_eq!(delete(1, id + 1).unwrap(), None, "unknown id");
    assert_fails(&delete(3, id), &StoreError::Conflict);
    assert_eq!(names(&bench.read("alice")), ["a"]);
    assert_eq!(delete(1, id).unwrap().map(|token| token.id), Some(id));
    assert_eq!(delete(1, id).unwrap(), None, "already deleted");
    bench.reopen();
    assert_eq!(names(&bench.read("alice")), [""; 0]);
}

pub fn tokens_survive_a_new_password_and_end_with_their_user<E: Engine>() {
    let (mut bench, alice, bob) = bench_of_two::<E>();
    bench.api_token("a", &alice);
    let alice = bench.read("alice");
    let changed = bench
        .store()
        .set_password(proof(&alice), record("new"), true, None);
    assert_eq!(names(&wait(changed).unwrap()), ["a"]);
    let precondition = Precondition::Password(proof(&bob));
    wait(
        bench
            .store()
            .delete_user("alice", precondition.clone(), None),
    )
    .unwrap();
    let again = super::bench::new_user("alice");
    wait(bench.store().create_user(again, precondition, None)).unwrap();
    bench.reopen();
    assert_eq!(names(&bench.read("alice")), [""; 0]);
}
