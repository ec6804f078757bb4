//! Password checks.

use divan::Bencher;
use platypush_userd::credentials::{LastCheck, Verdict};

use crate::stage::{Stage, password};

/// Check of a correct password at the default cost of Argon2, on a hashing thread. Includes the
/// look-up of the user and the check with the writer that a failure could be counted.
#[divan::bench(sample_size = 1)]
fn verify(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    let (name, password) = (&stage.user.username, password());
    bencher.bench_local(|| {
        let last = LastCheck::default();
        let credentials = &stage.services.credentials;
        let verdict = credentials.verify(name, &password, None, &last);
        let verdict = stage.runtime.block_on(verdict).unwrap();
        // Dropped here: while the verdict exists, other attempts under the name may wait.
        assert!(matches!(verdict, Verdict::Verified(_)));
    });
}
