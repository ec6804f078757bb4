//! Durability: answered operations survive closing and reopening.

use platypush_userd::model::{Attempted, CodeUse};
use platypush_userd::store::{
    AdminUpdate, PasswordPrecondition, Precondition, Resealed, SealedItem,
};

use super::Engine;
use super::bench::{
    Bench, at_once, factor, new_session, new_user, noon, proof, record, rules, token, wait,
};
use crate::store_changes::Changes as _;

const MUTATORS: usize = 64;

pub fn changes_of_64_threads_survive_reopening<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("first");
    bench.user("second");
    let first = bench.read("first");
    // Each thread creates its own user, a session, a new password that revokes it, a second factor
    // and another session.
    let mut expected = at_once(MUTATORS, async |thread| {
        let store = bench.store();
        let (kept, revoked) = (2 * thread as u64, 2 * thread as u64 + 1);
        let new = new_user(&format!("user-{thread}"));
        let precondition = Precondition::Password(proof(&first));
        let user = store.create_user(new, precondition, None).await.unwrap();
        store
            .create_session(new_session(revoked, None), proof(&user), None)
            .await
            .unwrap();
        let user = store
            .set_password(proof(&user), record(&format!("new-{thread}")), true, None)
            .await
            .unwrap();
        let on = Some(factor(thread as u64));
        store
            .set_second_factor(proof(&user), on, None)
            .await
            .unwrap();
        let user = store.user_by_name(&user.username).await.unwrap().unwrap();
        let created = store
            .create_session(new_session(kept, Some(noon())), proof(&user), None)
            .await;
        created.unwrap()
    });
    expected.sort_by_key(|(_, user)| user.id);
    assert!(
        expected.iter().map(|(_, user)| user.id).eq(3..67),
        "no gaps"
    );

    (0..2 * MUTATORS as u64).for_each(|number| bench.watch(number));
    let before = bench.state();
    bench.reopen();
    let after = bench.state();
    assert_eq!(after, before);
    let users = expected.iter().map(|(_, user)| user.clone());
    assert!(after.users.into_iter().skip(2).eq(users));
    let mut sessions: Vec<_> = after.sessions.into_iter().flatten().collect();
    sessions.sort_by_key(|(_, user)| user.id);
    let expected = expected
        .into_iter()
        .map(|(session, user)| (session, user.into()));
    assert!(sessions.into_iter().eq(expected));
}

pub fn every_operation_survives_reopening<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let check = |bench: &mut Bench<E>, what: &str| {
        let before = bench.state();
        bench.reopen();
        assert_eq!(bench.state(), before, "{what}");
    };
    bench.user("first");
    check(&mut bench, "create_user");
    bench.user("alice");
    bench.session(1, &bench.read("alice"), None);
    bench.session(2, &bench.read("alice"), Some(noon()));
    bench.session(3, &bench.read("alice"), None);
    check(&mut bench, "create_session");
    wait(
        bench
            .store()
            .set_password(proof(&bench.read("alice")), record("a"), false, None),
    )
    .unwrap();
    check(&mut bench, "set_password");
    let id = bench.read("alice").id;
    wait(
        bench
            .store()
            .replace_password_record(id, record("a"), record("b")),
    )
    .unwrap();
    check(&mut bench, "replace_password_record");
    wait(
        bench
            .store()
            .set_second_factor(proof(&bench.read("alice")), Some(factor(5)), None),
    )
    .unwrap();
    check(&mut bench, "set_second_factor");
    let code = PasswordPrecondition {
        code: Some(CodeUse::Step(9)),
        ..proof(&bench.read("alice"))
    };
    wait(bench.store().accept(code, None)).unwrap();
    check(&mut bench, "accept");
    let failed = Attempted::User(id);
    wait(bench.store().note_failure(failed, noon(), None)).unwrap();
    check(&mut bench, "note_failure");
    wait(bench.store().forget_failures(failed)).unwrap();
    check(&mut bench, "forget_failures");
    let resealed = Resealed {
        item: SealedItem::SecondFactor(id),
        from: factor(5).secret.0,
        to: b"resealed".to_vec(),
    };
    wait(bench.store().reseal(vec![resealed])).unwrap();
    check(&mut bench, "reseal");
    let alice = bench.read("alice");
    let ended = bench
        .store()
        .end_sessions(proof(&alice), Some(token(3)), None);
    assert!(wait(ended).unwrap());
    check(&mut bench, "end_sessions");
    wait(
        bench
            .store()
            .update_user("alice", AdminUpdate::DropSecondFactor),
    )
    .unwrap();
    check(&mut bench, "update_user");
    assert!(wait(bench.store().delete_session(&token(1), rules(noon()), None)).unwrap());
    check(&mut bench, "delete_session");
    let swept = wait(bench.store().sweep_sessions(None, 10, rules(noon()))).unwrap();
    assert_eq!(swept.removed, 1);
    check(&mut bench, "sweep_sessions");
    bench.delete("alice");
    check(&mut bench, "delete_user");
    // The store also reopens after an operation that changes nothing.
    wait(bench.store().sweep_sessions(None, 10, rules(noon()))).unwrap();
    check(&mut bench, "nothing");
}
