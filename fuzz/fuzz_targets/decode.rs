//! No message may panic, exhaust the stack or take more than linear time.

#![no_main]

use libfuzzer_sys::fuzz_target;
use platypush_userd::wire::literal::decode;

fuzz_target!(|message: &[u8]| {
    let _ = decode(message);
});
