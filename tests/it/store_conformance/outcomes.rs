//! Outcomes that operations record for redelivered requests.

use platypush_userd::model::{Attempted, DeliveryId, NameHash};
use platypush_userd::store::{Outcome, StoreError};

use super::Engine;
use super::bench::{Bench, factor, noon, proof, wait};
use crate::store_changes::Changes as _;

const fn delivery(position: u32) -> DeliveryId {
    DeliveryId {
        run_id: [7; 16],
        batch: 1,
        position,
    }
}

fn outcome<T>(position: u32) -> Option<Outcome<T>> {
    Some(Outcome {
        delivery: delivery(position),
        record: Box::new(move |_| Ok(vec![position as u8])),
    })
}

/// Returns the positions of all deliveries that have an outcome.
fn recorded<E: Engine>(bench: &Bench<E>) -> Vec<u32> {
    let mut recorded = wait(bench.store().outcomes()).unwrap();
    recorded.sort_unstable();
    recorded.iter().map(|delivery| delivery.position).collect()
}

/// A success uses a code or resets failures, and a failure is counted. Neither may run twice or get
/// another answer the second time. A success that changes nothing may run again.
pub fn an_operation_with_an_effect_records_an_outcome<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    let bob = bench.user_with_factor("bob", 41);
    let store = bench.store();
    let unknown_name = Attempted::UnknownName(NameHash([1; 16]));
    wait(async {
        // Nothing of alice changes.
        store.accept(proof(&alice), outcome(0)).await.unwrap();
        store.accept(proof(&bob), outcome(1)).await.unwrap();
        let failed = Attempted::User(alice.id);
        store
            .note_failure(failed, noon(), outcome(2))
            .await
            .unwrap();
        store
            .note_failure(unknown_name, noon(), outcome(3))
            .await
            .unwrap();
        let on = Some(factor(0));
        let set = store.set_second_factor(proof(&alice), on, outcome(4));
        set.await.unwrap();
    });
    let alice = bench.read("alice");
    let ended = bench.store().end_sessions(proof(&alice), None, outcome(5));
    assert!(wait(ended).unwrap());
    assert_eq!(recorded(&bench), [1, 2, 3, 4, 5]);
    bench.reopen();
    assert_eq!(recorded(&bench), [1, 2, 3, 4, 5]);
    for position in 1..6 {
        let record = wait(bench.store().outcome(&delivery(position))).unwrap();
        assert_eq!(record, Some(vec![position as u8]));
    }
}

pub fn a_refused_operation_records_no_outcome<E: Engine>() {
    let bench = Bench::<E>::fresh();
    bench.user("first");
    let bob = bench.user_with_factor("bob", 41);
    wait(bench.store().accept(proof(&bob), None)).unwrap();
    let store = bench.store();
    bench.refuses(&StoreError::Conflict, store.accept(proof(&bob), outcome(0)));
    bench.refuses(
        &StoreError::Conflict,
        store.set_second_factor(proof(&bob), None, outcome(1)),
    );
    bench.refuses(
        &StoreError::Conflict,
        store.end_sessions(proof(&bob), None, outcome(2)),
    );
    assert_eq!(recorded(&bench), [0; 0]);
}

pub fn outcomes_are_removed_individually<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    for position in 0..4 {
        let attempted = Attempted::User(alice.id);
        let noted = bench
            .store()
            .note_failure(attempted, noon(), outcome(position));
        wait(noted).unwrap();
    }
    let forgotten = [1, 3, 9].map(delivery);
    bench.store().forget_outcomes(forgotten.into());
    // `forget_outcomes` does not wait, but a later operation does.
    wait(bench.store().accept(proof(&alice), None)).unwrap();
    assert_eq!(recorded(&bench), [0, 2]);
    bench.reopen();
    assert_eq!(recorded(&bench), [0, 2]);
}
