//! Sealed items and their resealing.

use platypush_userd::model::DeliveryId;
use platypush_userd::store::{Outcome, Precondition, Resealed, SealedItem};

use super::Engine;
use super::bench::{Bench, factor, new_user, proof, wait};
use crate::store_changes::Changes as _;

const DELIVERY: DeliveryId = DeliveryId {
    run_id: [7; 16],
    batch: 1,
    position: 2,
};

fn reseal<E: Engine>(bench: &Bench<E>, items: &[(SealedItem, &[u8], &[u8])]) {
    let items = items.iter().map(|(item, from, to)| Resealed {
        item: *item,
        from: from.to_vec(),
        to: to.to_vec(),
    });
    wait(bench.store().reseal(items.collect())).unwrap();
}

pub fn the_hash_key_is_stored<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let read = |bench: &Bench<E>| wait(bench.store().hash_key()).unwrap();
    assert_eq!(read(&bench), None);
    wait(bench.store().set_hash_key(b"sealed".to_vec())).unwrap();
    assert_eq!(read(&bench), Some(b"sealed".to_vec()));
    bench.reopen();
    assert_eq!(read(&bench), Some(b"sealed".to_vec()));
}

pub fn only_an_unchanged_item_is_resealed<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let first = bench.user("first");
    let alice = bench.user_with_factor("alice", 41);
    let bob = bench.user_with_factor("bob", 41);
    wait(bench.store().set_hash_key(b"key".to_vec())).unwrap();
    let outcome = Outcome {
        delivery: DELIVERY,
        record: Box::new(|_| Ok(b"outcome".to_vec())),
    };
    let precondition = Precondition::Password(proof(&first));
    let created = bench
        .store()
        .create_user(new_user("carol"), precondition, Some(outcome));
    wait(created).unwrap();
    let secret = &factor(0).secret.0;

    // The stored items differ from the items that were read.
    let before = bench.state();
    reseal(
        &bench,
        &[
            (SealedItem::HashKey, b"other", b"x"),
            (SealedItem::SecondFactor(alice.id), b"other", b"x"),
            (SealedItem::SecondFactor(first.id), secret, b"x"),
            (SealedItem::SecondFactor(99), secret, b"x"),
            (SealedItem::Outcome(DELIVERY), b"other", b"x"),
        ],
    );
    let rest = |bench: &Bench<E>| {
        let key = wait(bench.store().hash_key()).unwrap().unwrap();
        let outcome = wait(bench.store().outcome(&DELIVERY)).unwrap().unwrap();
        (key, outcome)
    };
    assert_eq!(bench.state(), before);
    assert_eq!(rest(&bench), (b"key".to_vec(), b"outcome".to_vec()));

    // An item that cannot be replaced does not affect the others.
    reseal(
        &bench,
        &[
            (SealedItem::HashKey, b"key", b"new key"),
            (SealedItem::SecondFactor(99), secret, b"x"),
            (SealedItem::SecondFactor(alice.id), secret, b"new secret"),
            (SealedItem::Outcome(DELIVERY), b"outcome", b"new outcome"),
        ],
    );
    let mut resealed = alice;
    resealed.second_factor.as_mut().unwrap().secret.0 = b"new secret".to_vec();
    bench.reopen();
    assert_eq!(bench.read("alice"), resealed);
    assert_eq!(bench.read("bob"), bob);
    assert_eq!(rest(&bench), (b"new key".to_vec(), b"new outcome".to_vec()));
}

pub fn a_removed_item_is_not_restored<E: Engine>() {
    let bench = Bench::<E>::fresh();
    bench.user("first");
    let alice = bench.user_with_factor("alice", 41);
    let secret = factor(0).secret.0;
    wait(bench.store().set_second_factor(proof(&alice), None, None)).unwrap();
    let before = bench.state();
    reseal(
        &bench,
        &[
            (SealedItem::SecondFactor(alice.id), &secret, b"x"),
            (SealedItem::HashKey, b"", b"x"),
            (SealedItem::Outcome(DELIVERY), b"", b"x"),
        ],
    );
    assert_eq!(bench.state(), before);
    assert_eq!(wait(bench.store().hash_key()).unwrap(), None);
    assert_eq!(wait(bench.store().outcomes()).unwrap(), []);
}
