//! Dispatch of a request, from its bytes to the bytes of the reply: all work of the daemon except
//! the queue.

use std::sync::Arc;

use divan::Bencher;
use platypush_userd::clock::{Clock as _, SystemClock};
use platypush_userd::credentials::new_session_token;
use platypush_userd::dispatch::Dispatcher;
use platypush_userd::model::DeliveryId;
use platypush_userd::queue::{Delivery, Disposition, Handler as _};
use secrecy::{ExposeSecret as _, SecretString};

use crate::requests;
use crate::stage::{Stage, without_waiting};

const DELIVERY: DeliveryId = DeliveryId {
    run_id: [0; 16],
    batch: 0,
    position: 0,
};

/// `user.authenticate_session` with a session in the store's cache: the most frequent request.
#[divan::bench(sample_count = 1_000, sample_size = 100)]
fn known_session(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    let token = stage.known_session();
    bench_dispatch(bencher, &stage, &token, "\"username\"");
}

/// `user.authenticate_session` with an unknown token, which is looked up in the database.
#[divan::bench(sample_count = 1_000, sample_size = 100)]
fn unknown_token(bencher: Bencher<'_, '_>) {
    let token = new_session_token().unwrap();
    bench_dispatch(bencher, &Stage::new(), &token, "\"success\": false");
}

fn bench_dispatch(bencher: Bencher<'_, '_>, stage: &Stage, token: &SecretString, expected: &str) {
    let dispatcher = stage.dispatcher();
    #[expect(clippy::cast_precision_loss, reason = "as Python does it")]
    let now = SystemClock.now().timestamp_micros() as f64 / 1e6;
    let message = requests::json(&stage.config.device_id, token.expose_secret(), now);
    let reply = match handle(&dispatcher, message.clone().into_bytes()) {
        Disposition::Finished(finished) => finished.reply.unwrap(),
        other => panic!("{other:?}"),
    };
    let reply = str::from_utf8(&reply.bytes).unwrap();
    assert!(reply.contains(expected), "{reply}");
    bencher
        .with_inputs(|| message.clone().into_bytes())
        .bench_local_values(|message| handle(&dispatcher, message));
}

fn handle(dispatcher: &Arc<Dispatcher>, message: Vec<u8>) -> Disposition {
    let mut delivery = Delivery::new(DELIVERY, false);
    without_waiting(Arc::clone(dispatcher).handle(&mut delivery, message))
}
