//! Second factors and the steps of their one-time codes.

use platypush_userd::model::{CodeUse, Sealed, SecondFactor, SecretFingerprint, UsedSecret};
use platypush_userd::store::{
    AdminUpdate, PasswordPrecondition, Precondition, Resealed, SealedItem, StoreError,
};

use super::Engine;
use super::bench::{Bench, assert_fails, backup_code, factor_of, new_user, proof, wait};
use crate::store_changes::Changes as _;

pub fn is_switched_on_and_off<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let plain = bench.user("alice");
    bench.session(1, &plain, None);
    let alice = bench.user_with_factor("alice 2", 0);
    let mut without = alice.clone();
    without.second_factor = None;
    // Switching it off uses step 1.
    without.used_secrets = vec![used_secret(0, 1)];
    assert_eq!(without.password, alice.password);
    bench.reopen();
    assert_eq!(bench.read("alice 2"), alice);

    wait(bench.store().set_second_factor(proof(&alice), None, None)).unwrap();
    assert_eq!(bench.read("alice 2"), without);
    bench.reopen();
    assert_eq!(bench.read("alice 2"), without);
    assert_eq!(bench.read("alice"), plain, "other users stay unchanged");
    assert!(bench.has_session(1));
}

pub fn any_secret_is_stored<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let secrets = [
        vec![],
        vec![0],
        vec![0; 64],
        (0..=255).collect(),
        vec![255; 20],
    ];
    let mut expected = Vec::new();
    for (secret, last_step) in secrets
        .into_iter()
        .zip([0, 1, 1 << 32, u64::MAX - 1, u64::MAX])
    {
        let name = format!("step {last_step}");
        let mut user = bench.user(&name);
        user.second_factor = Some(SecondFactor {
            secret: Sealed(secret),
            fingerprint: SecretFingerprint([1; 16]),
            last_step,
            backup_codes: Vec::new(),
            imported_codes: Vec::new(),
        });
        let on = user.second_factor.clone();
        let plain = PasswordPrecondition {
            code: None,
            ..proof(&bench.read(&name))
        };
        wait(bench.store().set_second_factor(plain, on, None)).unwrap();
        // The first user creates the next ones, which must not need a code.
        if expected.is_empty() {
            let off = PasswordPrecondition {
                code: Some(CodeUse::Step(1)),
                ..proof(&user)
            };
            wait(bench.store().set_second_factor(off, None, None)).unwrap();
            user.second_factor = None;
            user.used_secrets = vec![used_secret(1, 1)];
        }
        expected.push(user);
    }
    bench.reopen();
    assert_eq!(bench.state().users, expected);
}

/// Regression: a refresh of the backup codes wrote back the whole second factor as it was read. It
/// undid a step that a login had used meanwhile, and a secret that a key rotation had resealed.
pub fn new_backup_codes_change_nothing_else<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user_with_factor("alice", 10);
    let by = |code| PasswordPrecondition {
        code: Some(code),
        ..proof(&alice)
    };
    let backup = alice.second_factor.as_ref().unwrap().backup_codes[0];
    wait(bench.store().accept(by(CodeUse::Step(12)), None)).unwrap();
    let resealed = Resealed {
        item: SealedItem::SecondFactor(alice.id),
        from: alice.second_factor.as_ref().unwrap().secret.0.clone(),
        to: b"resealed".to_vec(),
    };
    wait(bench.store().reseal(vec![resealed])).unwrap();
    let codes = vec![backup_code(77)];
    let precondition = by(CodeUse::Backup(backup));
    let replaced = bench
        .store()
        .replace_backup_codes(precondition.clone(), codes.clone(), None);
    wait(replaced).unwrap();
    bench.reopen();
    let expected = SecondFactor {
        secret: Sealed(b"resealed".to_vec()),
        fingerprint: SecretFingerprint([0; 16]),
        last_step: 12,
        backup_codes: codes,
        imported_codes: Vec::new(),
    };
    assert_eq!(bench.read("alice").second_factor, Some(expected));
    let again = bench
        .store()
        .replace_backup_codes(precondition, vec![], None);
    bench.refuses(&StoreError::Conflict, again);
}

/// Regression: after the same secret was enabled again, used codes were accepted again.
pub fn a_used_step_stays_used_after_the_factor_is_enabled_again<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user_with_factor("alice", 10);
    let factor = alice.second_factor.clone();
    let off = PasswordPrecondition {
        code: Some(CodeUse::Step(12)),
        ..proof(&alice)
    };
    wait(bench.store().set_second_factor(off, None, None)).unwrap();
    bench.reopen();
    let on = proof(&bench.read("alice"));
    wait(bench.store().set_second_factor(on, factor.clone(), None)).unwrap();
    let last_step = |bench: &Bench<E>| bench.read("alice").second_factor.unwrap().last_step;
    assert_eq!(last_step(&bench), 12);
    let drop_factor = AdminUpdate::DropSecondFactor;
    wait(bench.store().update_user("alice", drop_factor)).unwrap();
    let on = proof(&bench.read("alice"));
    wait(bench.store().set_second_factor(on, factor, None)).unwrap();
    assert_eq!(last_step(&bench), 12);
}

/// Regression: a code that was used while the clock was ahead blocked all codes
/// of every later secret of the user.
pub fn used_steps_of_a_secret_do_not_block_other_secrets<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user_with_factor("alice", 10);
    let last_step = |bench: &Bench<E>| bench.read("alice").second_factor.unwrap().last_step;
    let switch_on = |bench: &Bench<E>, secret| {
        let alice = bench.read("alice");
        let on = Some(factor_of(secret, 11));
        wait(bench.store().set_second_factor(proof(&alice), on, None)).unwrap();
    };
    let drop_factor = |bench: &Bench<E>| {
        let update = AdminUpdate::DropSecondFactor;
        wait(bench.store().update_user("alice", update)).unwrap();
    };
    let ahead = PasswordPrecondition {
        code: Some(CodeUse::Step(1_000_000)),
        ..proof(&bench.read("alice"))
    };
    wait(bench.store().set_second_factor(ahead, None, None)).unwrap();
    switch_on(&bench, 1);
    assert_eq!(last_step(&bench), 11, "a new secret has no used steps");
    drop_factor(&bench);
    bench.reopen();
    switch_on(&bench, 0);
    assert_eq!(
        last_step(&bench),
        1_000_000,
        "the same secret keeps its steps"
    );
    drop_factor(&bench);

    // The store keeps sixteen secrets and evicts the least recently used.
    for secret in 2..=16 {
        switch_on(&bench, secret);
        drop_factor(&bench);
    }
    assert_eq!(bench.read("alice").used_secrets.len(), 16);
    switch_on(&bench, 0);
    assert_eq!(last_step(&bench), 1_000_000);
    drop_factor(&bench);
    for secret in 20..36 {
        switch_on(&bench, secret);
        drop_factor(&bench);
    }
    bench.reopen();
    assert_eq!(bench.read("alice").used_secrets.len(), 16);
    switch_on(&bench, 0);
    assert_eq!(last_step(&bench), 11);
}

const fn used_secret(secret: u8, last_step: u64) -> UsedSecret {
    UsedSecret {
        fingerprint: SecretFingerprint([secret; 16]),
        last_step,
    }
}

pub fn steps_only_go_forward<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user_with_factor("alice", 10);
    let with = |step| PasswordPrecondition {
        code: Some(CodeUse::Step(step)),
        ..proof(&alice)
    };
    let accept = |bench: &Bench<E>, step| wait(bench.store().accept(with(step), None));
    let refused = |bench: &Bench<E>, step| {
        bench.refuses(
            &StoreError::Conflict,
            bench.store().accept(with(step), None),
        );
    };
    for step in [0, 9, 10] {
        refused(&bench, step);
    }
    accept(&bench, 11).unwrap();
    refused(&bench, 11);
    accept(&bench, 15).unwrap();
    for step in [11, 12, 14, 15] {
        refused(&bench, step);
    }
    bench.reopen();
    refused(&bench, 15);
    accept(&bench, u64::MAX).unwrap();
    refused(&bench, u64::MAX);
    // A precondition without a code conflicts while the factor is on.
    let without = PasswordPrecondition {
        code: None,
        ..proof(&alice)
    };
    bench.refuses(&StoreError::Conflict, bench.store().accept(without, None));
}

pub fn a_backup_code_is_accepted_once<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("first");
    let alice = bench.user_with_factor("alice", 10);
    let with = |code| PasswordPrecondition {
        code: Some(CodeUse::Backup(backup_code(code))),
        ..proof(&alice)
    };
    let refused = |bench: &Bench<E>, code| {
        bench.refuses(
            &StoreError::Conflict,
            bench.store().accept(with(code), None),
        );
    };
    refused(&bench, 10);
    let mut expected = alice.clone();
    // The user may use the codes in any order.
    for code in [3, 0, 9, 1, 2, 4, 5, 6, 7, 8] {
        wait(bench.store().accept(with(code), None)).unwrap();
        let factor = expected.second_factor.as_mut().unwrap();
        factor
            .backup_codes
            .retain(|left| *left != backup_code(code));
        assert_eq!(bench.read("alice"), expected);
        refused(&bench, code);
        if code % 4 == 0 {
            bench.reopen();
            refused(&bench, code);
        }
    }
    // The codes of the authenticator stay valid.
    wait(bench.store().accept(proof(&alice), None)).unwrap();
}

pub fn a_failed_operation_uses_no_code<E: Engine>() {
    let bench = Bench::<E>::fresh();
    bench.user("first");
    let alice = bench.user_with_factor("alice", 10);
    let precondition = || Precondition::Password(proof(&alice));
    bench.refuses(
        &StoreError::NameTaken,
        bench
            .store()
            .create_user(new_user("first"), precondition(), None),
    );
    bench.refuses(
        &StoreError::NoSuchUser,
        bench.store().delete_user("nobody", precondition(), None),
    );
    // The code is still accepted, once.
    wait(
        bench
            .store()
            .create_user(new_user("new"), precondition(), None),
    )
    .unwrap();
    let again = wait(
        bench
            .store()
            .create_user(new_user("other"), precondition(), None),
    );
    assert_fails(&again, &StoreError::Conflict);
}
