//! Limits of the hardware: rates of Argon2 and of durable writes without the daemon.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};

/// Returns the hashes per second of the bare argon2 crate at the daemon's default cost, on
/// `threads` threads that each reuse their memory.
pub fn argon2_per_second(threads: usize, time: Duration) -> f64 {
    let begin = Instant::now();
    let count: u32 = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(move || {
                    let params = Params::new(19 * 1024, 2, 1, Some(32)).unwrap();
                    let mut memory = vec![Block::default(); params.block_count()];
                    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                    let mut hash = [0; 32];
                    let mut count = 0;
                    while begin.elapsed() < time {
                        argon2
                            .hash_password_into_with_memory(
                                b"bench password",
                                &[7; 16],
                                &mut hash,
                                &mut memory,
                            )
                            .unwrap();
                        std::hint::black_box(hash);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        workers.into_iter().map(|t| t.join().unwrap()).sum()
    });
    f64::from(count) / begin.elapsed().as_secs_f64()
}

/// Returns the writes per second of sled with one flush and one `fdatasync` per write, on the disk
/// of `folder`.
pub fn single_writes_per_second(folder: &Path, time: Duration) -> f64 {
    let db = sled::Config::new()
        .path(folder.join("single"))
        .flush_every_ms(None)
        .open()
        .unwrap();
    let file = File::open(folder.join("single/db")).unwrap();
    let begin = Instant::now();
    let mut count = 0u32;
    while begin.elapsed() < time {
        db.insert(count.to_be_bytes(), [0; 100].as_slice()).unwrap();
        db.flush().unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}
