//! Encoding of replies.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use platypush_userd::actions::Output;
use platypush_userd::clock::{Clock as _, SystemClock};
use platypush_userd::model::{Profile, UserId};
use platypush_userd::value::Value;
use platypush_userd::wire::RequestId;
use platypush_userd::wire::reply::Address;

use crate::stage;

/// The reply to `user.authenticate_session`.
#[divan::bench(sample_count = 1_000, sample_size = 100)]
fn user(bencher: Bencher<'_, '_>) {
    bench_encode(bencher, &Output::User(profile(1)));
}

/// The reply to `user.get_users`.
#[divan::bench]
fn thousand_users(bencher: Bencher<'_, '_>) {
    let users = (1..=1_000).map(profile);
    bench_encode(bencher, &Output::Users(users.collect()));
}

fn profile(id: UserId) -> Profile {
    Profile {
        id,
        username: stage::username(id),
        created_at: SystemClock.now(),
        generation: 0,
        has_second_factor: false,
    }
}

fn bench_encode(bencher: Bencher<'_, '_>, output: &Output) {
    let id = Value::Text("5f0c8a3be1d24796b08d1c37a2e9f465".into());
    let address = Address {
        id: &RequestId::from_value(Some(&id), 256).unwrap(),
        target: Some("living-room"),
        origin: "living-room",
        now: SystemClock.now(),
    };
    let reply = address.success(output, &[]).unwrap();
    bencher
        .counter(BytesCount::of_slice(&reply))
        .bench_local(|| address.success(black_box(output), &[]));
}
