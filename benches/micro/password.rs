//! Checking passwords.

use divan::Bencher;
use platypush_userd::credentials::{LastCheck, Verdict};

use crate::stage::{Stage, password};

/// The right password of a user, at the default cost of Argon2, on a hashing
/// thread of its own. Looking up the user and asking the writer whether a
/// failure could be counted come on top.
#[divan::bench(sample_size = 1)]
fn verify(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    let (name, password) = (&stage.user.username, password());
    bencher.bench_local(|| {
        let last = LastCheck::default();
        let credentials = &stage.services.credentials;
        let verdict = credentials.verify(name, &password, None, &last);
        let verdict = stage.runtime.block_on(verdict).unwrap();
        // Not given out: as long as it lives, others who try the name may wait.
        assert!(matches!(verdict, Verdict::Verified(_)));
    });
}
