//! Operations at once have the effect of the same ones in some order.

use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::Engine;
use super::bench::{Bench, at_once};
use super::model::{Answer, Call, Model};
use super::random_operations::{Kind, Step, agrees, step};

/// What the writer decides. Reads of more than one record are left out: they
/// are not promised to be of one moment.
fn decided_by_the_writer() -> impl Strategy<Value = Kind> {
    prop_oneof![
        2 => Just(Kind::CreateFirstUser),
        2 => Just(Kind::CreateUser),
        1 => Just(Kind::CreateUserBySession),
        3 => Just(Kind::SetPassword),
        2 => Just(Kind::Rehash),
        3 => Just(Kind::Accept),
        2 => Just(Kind::NoteFailure),
        2 => Just(Kind::NoteFailureOfNobody),
        1 => Just(Kind::ForgetFailures),
        1 => Just(Kind::Amend),
        1 => Just(Kind::EndSession),
        1 => Just(Kind::EndSessions),
        1 => Just(Kind::SwitchOn),
        1 => Just(Kind::SwitchOff),
        2 => Just(Kind::DeleteUser),
        1 => Just(Kind::DeleteUserBySession),
        3 => Just(Kind::CreateSession),
        2 => Just(Kind::DeleteSession),
        1 => Just(Kind::HasUsers),
    ]
}

/// All models that some order of the calls with these answers leads to.
fn explain(model: &Model, calls: &[(Call, Answer)]) -> Vec<Model> {
    if calls.is_empty() {
        return vec![model.clone()];
    }
    let mut models = Vec::new();
    for (place, (call, answer)) in calls.iter().enumerate() {
        let mut next = model.clone();
        if next.run(call.clone()) == *answer {
            let rest: Vec<_> = [&calls[..place], &calls[place + 1..]].concat();
            models.extend(explain(&next, &rest));
        }
    }
    models
}

fn run_group<E: Engine>(bench: &Bench<E>, calls: &[Call]) -> Vec<(Call, Answer)> {
    let answers = at_once(calls.len(), async |place| {
        calls[place].clone().on(bench.store()).await
    });
    calls.iter().cloned().zip(answers).collect()
}

pub fn what_happens_at_once_happens_in_some_order<E: Engine>() {
    let config = ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let group = prop::collection::vec(step(decided_by_the_writer()), 2..=4);
    let groups = prop::collection::vec(group, 1..12);
    // How many groups came out otherwise than in the order of their calls:
    // if none ever did, nothing would have been tried.
    let reordered = Mutex::new(0);
    TestRunner::new(config)
        .run(&groups, |groups: Vec<Vec<Step>>| {
            let bench = Bench::<E>::fresh();
            let (mut model, mut sessions) = (Model::default(), 0);
            for group in groups {
                // Each decides on what stood there before all of them.
                let calls: Vec<_> = group
                    .iter()
                    .filter_map(|step| step.call(&model, &mut sessions))
                    .collect();
                let answered = run_group(&bench, &calls);
                let in_order = &mut model.clone();
                if !answered
                    .iter()
                    .all(|(call, answer)| in_order.run(call.clone()) == *answer)
                {
                    *reordered.lock().unwrap() += 1;
                }
                let explained = explain(&model, &answered)
                    .into_iter()
                    .find(|model| agrees(&bench, model, sessions));
                match explained {
                    Some(next) => model = next,
                    None => prop_assert!(false, "no order explains {answered:?}"),
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(*reordered.lock().unwrap() > 0);
}
