//! Linearizability: concurrent operations have the effect of a sequential order of them.

use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::Engine;
use super::bench::{Bench, at_once};
use super::model::{Answer, Call, Model};
use super::random_operations::{Kind, Step, agrees, step};

/// Returns operations that the engine serializes. Reads of several records are excluded, because
/// they need not be consistent.
fn serialized_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        2 => Just(Kind::CreateFirstUser),
        2 => Just(Kind::CreateUser),
        1 => Just(Kind::CreateUserBySession),
        3 => Just(Kind::SetPassword),
        2 => Just(Kind::Rehash),
        3 => Just(Kind::Accept),
        2 => Just(Kind::NoteFailure),
        2 => Just(Kind::NoteFailureOfUnknownName),
        1 => Just(Kind::ForgetFailures),
        1 => Just(Kind::UpdateUser),
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

/// Returns the models after every order of the calls that explains the answers.
fn explain(model: &Model, calls: &[(Call, Answer)]) -> Vec<Model> {
    if calls.is_empty() {
        return vec![model.clone()];
    }
    let mut models = Vec::new();
    for (index, (call, answer)) in calls.iter().enumerate() {
        let mut next = model.clone();
        if next.run(call.clone()) == *answer {
            let rest: Vec<_> = [&calls[..index], &calls[index + 1..]].concat();
            models.extend(explain(&next, &rest));
        }
    }
    models
}

fn run_group<E: Engine>(bench: &Bench<E>, calls: &[Call]) -> Vec<(Call, Answer)> {
    let answers = at_once(calls.len(), async |index| {
        calls[index].clone().on(bench.store()).await
    });
    calls.iter().cloned().zip(answers).collect()
}

pub fn concurrent_operations_are_linearizable<E: Engine>() {
    let config = ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let group = prop::collection::vec(step(serialized_kind()), 2..=4);
    let groups = prop::collection::vec(group, 1..12);
    // Number of groups that did not run in the order of their calls. If it stays 0, the test has
    // covered no concurrency.
    let reordered = Mutex::new(0);
    TestRunner::new(config)
        .run(&groups, |groups: Vec<Vec<Step>>| {
            let bench = Bench::<E>::fresh();
            let (mut model, mut sessions) = (Model::default(), 0);
            for group in groups {
                // Every call takes its arguments from the state before the group.
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
