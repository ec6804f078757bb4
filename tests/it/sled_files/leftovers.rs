//! Deletions leave no orphaned keys in the database.

use platypush_userd::model::{Attempted, DeliveryId, NameHash};
use platypush_userd::store::{Outcome, Precondition, Store as _};

use super::{database_of, open, wait_until_closed};
use crate::store_changes::Changes as _;
use crate::store_conformance::bench::{at, new_session, noon, proof, rules, token, wait};

#[test]
fn deletions_remove_all_keys() {
    let folder = database_of(&["alice", "bob"]);
    let store = open(folder.path()).unwrap();
    wait(async {
        let read = async |name| store.user_by_name(name).await.unwrap().unwrap();
        let [alice, bob] = [read("alice").await, read("bob").await];
        for (number, user, expires_at) in [
            (1, &alice, None),
            (2, &alice, None),
            (3, &alice, Some(at(0))),
            (4, &alice, None),
            (5, &bob, None),
        ] {
            let new = new_session(number, expires_at);
            store.create_session(new, proof(user), None).await.unwrap();
        }
        let first = token(1);
        let deleted = store.delete_session(&first, rules(noon()), None);
        assert!(deleted.await.unwrap());
        let ended = store.end_sessions(proof(&alice), Some(token(2)), None);
        assert!(ended.await.unwrap());
        let delivery = DeliveryId {
            run_id: [1; 16],
            batch: 1,
            position: 1,
        };
        let outcome = Outcome {
            delivery,
            record: Box::new(|_| Ok(vec![1])),
        };
        let by_alice = Precondition::Password(proof(&alice));
        let deleted = store.delete_user("bob", by_alice, Some(outcome));
        deleted.await.unwrap();
        store.forget_outcomes(vec![delivery]);
        for (number, micros) in [(1, 1), (2, 2), (1, 3), (2, 4)] {
            let unknown_name = Attempted::UnknownName(NameHash([number; 16]));
            let noted = store.note_failure(unknown_name, at(micros), None);
            noted.await.unwrap();
        }
        for number in [1, 2] {
            let unknown_name = Attempted::UnknownName(NameHash([number; 16]));
            store.forget_failures(unknown_name).await.unwrap();
        }
        let swept = store.sweep_sessions(None, 10, rules(noon()));
        assert_eq!(swept.await.unwrap().removed, 2);
    });
    drop(store);
    wait_until_closed(folder.path());
    let database = sled::Config::new()
        .path(folder.path().join("db"))
        .segment_size(4 << 20)
        .open()
        .unwrap();
    let keys = database.iter().keys().map(Result::unwrap);
    let kinds: Vec<_> = keys
        .map(|key| String::from_utf8_lossy(&key[..2]).into_owned())
        .filter(|kind| kind != "m:")
        .collect();
    // Name, session, user and session index of alice.
    assert_eq!(kinds, ["n:", "s:", "u:", "x:"]);
}
