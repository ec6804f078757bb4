//! Decoding of requests.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use platypush_userd::wire::request::decode;

use crate::{requests, stage};

const TARGET: &str = "living-room";
const SESSION_TOKEN: &str = "4c1be1226b891ec5486919e756b3da3601f023661caf9106a5ac7013b213caa5";
const TIMESTAMP: f64 = 1_795_497_088.513_255;
/// The default of `max_message_size`.
const MEBIBYTE: usize = 1 << 20;

#[divan::bench(sample_count = 1_000, sample_size = 100)]
fn json(bencher: Bencher<'_, '_>) {
    bench_decode(bencher, &requests::json(TARGET, SESSION_TOKEN, TIMESTAMP));
}

#[divan::bench(sample_count = 1_000, sample_size = 100)]
fn python_literal(bencher: Bencher<'_, '_>) {
    bench_decode(
        bencher,
        &requests::python_literal(TARGET, SESSION_TOKEN, TIMESTAMP),
    );
}

#[divan::bench]
fn mebibyte_of_text(bencher: Bencher<'_, '_>) {
    bench_decode(bencher, &requests::filled(MEBIBYTE, "\"", "x", "\""));
}

/// A list of half a million values.
#[divan::bench]
fn mebibyte_of_digits(bencher: Bencher<'_, '_>) {
    bench_decode(bencher, &requests::filled(MEBIBYTE, "[0", ",0", "]"));
}

fn bench_decode(bencher: Bencher<'_, '_>, message: &str) {
    let message = message.as_bytes();
    let limits = stage::message_limits(&stage::default_config());
    let request = decode(message, &limits).ok().expect("a good request");
    assert_eq!(request.action.as_deref(), Some("user.authenticate_session"));
    bencher
        .counter(BytesCount::of_slice(message))
        .bench_local(|| decode(black_box(message), &limits));
}
