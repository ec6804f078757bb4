//! Operations of a store with a thousand users and their sessions (and the records that a benchmark
//! creates).
//!
//! A mutation returns once it is durable, so it includes the latency of the disk. Concurrent
//! mutations share one `fdatasync`.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use futures_util::future::try_join_all;
use platypush_userd::clock::{Clock as _, SystemClock};
use platypush_userd::credentials::{new_session_token, token_hash};
use platypush_userd::model::SessionLimits;
use platypush_userd::store::Store as _;

use crate::stage::{Stage, new_session, username, without_waiting};
use crate::store_changes::Changes as _;

/// Number of sessions that [`session_in_database`] creates at a time.
const CHUNK: usize = 500;

#[divan::bench(sample_count = 1_000, sample_size = 100)]
fn session_in_cache(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    let token = token_hash(&stage.known_session());
    bencher.bench_local(|| without_waiting(stage.store.session(black_box(&token))));
}

/// First look-up of a session. It puts the session into the cache, so each iteration looks up
/// another session.
#[divan::bench(sample_size = 100)]
fn session_in_database(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    let mut uncached = Vec::new();
    bencher
        .with_inputs(|| {
            if uncached.is_empty() {
                uncached = stage.sessions(CHUNK);
            }
            uncached.pop().map(|token| token_hash(&token)).unwrap()
        })
        .bench_local_refs(|token| without_waiting(stage.store.session(token)));
}

#[divan::bench(sample_count = 1_000, sample_size = 100)]
fn unknown_session(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    let token = token_hash(&new_session_token().unwrap());
    bencher.bench_local(|| without_waiting(stage.store.session(black_box(&token))));
}

#[divan::bench(sample_count = 1_000, sample_size = 100)]
fn user_by_name(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    let name = username(500);
    let found = without_waiting(stage.store.user_by_name(&name)).unwrap();
    assert!(found.is_some());
    bencher.bench_local(|| without_waiting(stage.store.user_by_name(black_box(&name))));
}

#[divan::bench(args = [1, 128], sample_count = 300, sample_size = 1)]
fn create_session(bencher: Bencher<'_, '_>, count: usize) {
    let stage = Stage::new();
    bencher
        .counter(ItemsCount::new(count))
        .with_inputs(|| {
            let tokens = (0..count).map(|_| new_session_token().unwrap());
            tokens.map(|token| new_session(&token)).collect::<Vec<_>>()
        })
        .bench_local_values(|sessions| {
            let created = sessions.into_iter().map(|session| {
                stage
                    .store
                    .create_session(session, stage.precondition(), None)
            });
            stage.runtime.block_on(try_join_all(created)).unwrap()
        });
}

#[divan::bench(args = [1, 128], sample_count = 300, sample_size = 1)]
fn delete_session(bencher: Bencher<'_, '_>, count: usize) {
    let stage = Stage::new();
    let rules = SessionLimits::default().at(SystemClock.now());
    bencher
        .counter(ItemsCount::new(count))
        .with_inputs(|| {
            let tokens = stage.sessions(count);
            tokens.iter().map(token_hash).collect::<Vec<_>>()
        })
        .bench_local_refs(|tokens| {
            let deleted = tokens
                .iter()
                .map(|token| stage.store.delete_session(token, rules, None));
            let deleted = stage.runtime.block_on(try_join_all(deleted)).unwrap();
            assert!(deleted.into_iter().all(|existed| existed));
        });
}
