//! Sweeping of dead sessions.

use platypush_userd::clock::Timestamp;
use platypush_userd::model::TokenHash;

use super::Engine;
use super::bench::{Bench, at, at_once, new_session, noon, proof, rules, token, wait};
use crate::store_changes::{Changes as _, SweepStep};

const SESSIONS: u64 = 1_000;

/// Sweeps to the end in steps of `limit`, and returns the number of removed sessions of each step.
fn sweep<E: Engine>(bench: &Bench<E>, limit: usize, now: Timestamp) -> Vec<usize> {
    let mut removed = Vec::new();
    let mut after: Option<TokenHash> = None;
    loop {
        let step = wait(bench.store().sweep_sessions(after, limit, rules(now))).unwrap();
        assert!(step.removed <= limit);
        removed.push(step.removed);
        match step.next {
            Some(next) => {
                assert!(after.is_none_or(|after| after < next), "must advance");
                after = Some(next);
            }
            None => return removed,
        }
    }
}

pub fn only_dead_sessions_are_removed_in_steps<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("first");
    let [alice, deleted, revoked] = ["alice", "deleted", "revoked"].map(|name| bench.user(name));
    let past = Some(at(noon().timestamp_micros() - 1));
    let future = Some(at(noon().timestamp_micros() + 1));
    // By number modulo 5: two are live, three are dead.
    let kinds = [
        (&alice, None),
        (&alice, future),
        (&alice, past),
        (&deleted, None),
        (&revoked, future),
    ];
    at_once(8, async |thread| {
        for number in (thread as u64..SESSIONS).step_by(8) {
            let (user, expires_at) = kinds[number as usize % kinds.len()];
            let new = new_session(number, expires_at);
            let created = bench.store().create_session(new, proof(user), None);
            created.await.unwrap();
        }
    });
    (0..SESSIONS).for_each(|number| bench.watch(number));
    bench.delete("deleted");
    let same = revoked.password.clone();
    wait(
        bench
            .store()
            .set_password(proof(&revoked), same, true, None),
    )
    .unwrap();
    let before = bench.state();

    let removed = sweep(&bench, 64, noon());
    assert_eq!(
        removed.len(),
        16,
        "each session is examined once: 1,000 in steps of 64"
    );
    assert_eq!(removed.iter().sum::<usize>(), 600);
    let mut expected = before;
    for dead in expected.sessions.iter_mut().skip(2).step_by(5) {
        *dead = None;
    }
    assert_eq!(bench.state(), expected);
    assert_eq!(sweep(&bench, 64, noon()), [0; 7], "400 are left");
    bench.reopen();
    assert_eq!(bench.state(), expected);
    assert_eq!(sweep(&bench, 1_000, noon()), [0]);
}

pub fn an_empty_store_is_swept_in_one_step<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    assert_eq!(sweep(&bench, 1, noon()), [0]);
    let alice = bench.user("alice");
    assert_eq!(sweep(&bench, 1, noon()), [0]);
    // Also after the last session.
    bench.session(1, &alice, Some(at(0)));
    let empty_step = SweepStep {
        removed: 0,
        next: None,
    };
    for after in [token(1), TokenHash([0xff; 32])] {
        let step = bench.store().sweep_sessions(Some(after), 1, rules(noon()));
        assert_eq!(wait(step).unwrap(), empty_step);
    }
    assert!(bench.has_session(1));
}

pub fn the_last_full_step_is_followed_by_an_empty_one<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    for number in 0..6 {
        bench.session(number, &alice, (number % 2 == 0).then_some(at(0)));
    }
    // A sweep continues after a session that the previous step removed.
    assert_eq!(sweep(&bench, 1, noon()).iter().sum::<usize>(), 3);
    assert_eq!(sweep(&bench, 3, noon()), [0, 0]);
    bench.delete("alice");
    assert_eq!(sweep(&bench, 3, noon()), [3, 0]);
    assert_eq!(sweep(&bench, 3, noon()), [0]);
}

pub fn a_session_expires_at_its_exact_time<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    bench.session(1, &alice, Some(noon()));
    bench.session(2, &alice, Some(Timestamp::MAX_UTC));
    let before = at(noon().timestamp_micros() - 1);
    assert_eq!(sweep(&bench, 10, before), [0]);
    assert_eq!(sweep(&bench, 10, noon()), [1]);
    assert!(!bench.has_session(1) && bench.has_session(2));
}
