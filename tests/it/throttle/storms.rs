//! The count of failures over many crashes: each answered guess is counted exactly once.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;

use super::{
    FIVE, HUNDRED, NAMES, StoppedStore, add_old_failures, assert_throttled_for_an_hour,
    count_after_kill, guess, was_checked,
};
use crate::support::{Daemon, Setup, wait_until_closed};

/// Sends guesses while the daemon is killed eight times. A guess that was hashed but not counted
/// before a kill is hashed again and answered once, so an attacker gets the result of at most a
/// hundred guesses.
fn guess_over_kills(name: &str) {
    // One thread, so that a kill comes after some guesses are counted and before others are.
    let slow = [
        HUNDRED,
        ("PASSWORD__THREADS", "1"),
        ("PASSWORD__MEMORY_KIB", "256"),
    ];
    let mut setup = Setup::with_alice(&slow);
    let mut ids = Vec::new();
    for round in 1..=8 {
        ids.extend(setup.client.send_all(vec![guess(name); 20]));
        // Wait for more replies than in the last round.
        setup.client.await_reply(&ids[round * 10]);
        setup.daemon.kill();
        let counted = {
            let stopped = StoppedStore::open(&setup.daemon.workdir());
            stopped.failures_of(name).count
        };
        wait_until_closed(&setup.daemon.workdir());
        let answered = setup.client.answered(ids.iter().map(|id| &**id)).len();
        let counted = usize::try_from(counted).unwrap();
        assert!(
            answered.min(100) <= counted && counted <= 100,
            "{name}: {answered} answered, {counted} counted"
        );
        setup.daemon.restart();
    }
    let replies: Vec<_> = ids.iter().map(|id| setup.client.reply(id)).collect();
    let checked = replies.iter().filter(|reply| was_checked(reply)).count();
    assert_eq!(checked, 100, "{name}");
    let (action, args) = guess(name);
    assert_throttled_for_an_hour(&setup.client.call(action, args));
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
    assert_eq!(count_of(&setup, name), 100);
}

fn count_of(setup: &Setup, name: &str) -> u32 {
    let stopped = StoppedStore::open(&setup.daemon.workdir());
    stopped.failures_of(name).count
}

#[test]
fn at_most_a_hundred_guesses_for_a_user_are_checked_over_kills() {
    guess_over_kills(NAMES[0]);
}

#[test]
fn at_most_a_hundred_guesses_for_an_unknown_name_are_checked_over_kills() {
    guess_over_kills(NAMES[1]);
}

/// The guess is answered as a wrong password and counted once, wherever the daemon crashes.
#[test]
fn a_redelivered_guess_counts_once() {
    let points = [
        "before commit",
        "after commit",
        "after flush",
        "before reply",
        "after reply",
    ];
    for point in points {
        for name in NAMES {
            let mut setup = Setup::with_alice(&[FIVE]);
            // The next guess is the last one to be checked.
            add_old_failures(&mut setup, &[name], 99);
            assert!(setup.daemon.stop().success());
            wait_until_closed(&setup.daemon.workdir());
            let (action, args) = guess(name);
            let id = setup.client.send(action, args);
            let folder = setup.daemon.folder();
            let mut crashing = Daemon::launch(folder, &setup.redis, &[FIVE], |mut command| {
                command.env("USERD_CRASH_AT", format!("{point}:1"));
                command
            });
            assert_eq!(crashing.wait().signal(), Some(Signal::ABORT.as_raw()));
            wait_until_closed(&setup.daemon.workdir());
            setup.daemon.restart();
            assert!(was_checked(&setup.client.reply(&id)), "{point}, {name}");
            let count = count_after_kill(&mut setup, name);
            assert_eq!(count, 100, "{point}, {name}");
        }
    }
}
