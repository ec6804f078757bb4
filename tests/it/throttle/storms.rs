//! The count holds while the daemon dies again and again: what was answered
//! was counted, once.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;

use super::{
    FIVE, HUNDRED, NAMES, Stopped, assert_waits_an_hour, count_after_kill, fail_long_ago, guess,
    is_tried,
};
use crate::support::{Daemon, Setup, wait_until_closed};

/// Guesses pour in while the daemon is killed eight times. A guess that was
/// hashed and not counted when it died is hashed again, and answered once: so
/// nobody learns of more than a hundred passwords whether they are right.
fn a_kill_storm(name: &str) {
    // One thread, so that a kill finds some counted and some not.
    let slow = [
        HUNDRED,
        ("PASSWORD__THREADS", "1"),
        ("PASSWORD__MEMORY_KIB", "256"),
    ];
    let mut setup = Setup::with_alice(&slow);
    let mut ids = Vec::new();
    for round in 1..=8 {
        ids.extend(setup.client.send_all(vec![guess(name); 20]));
        // Where the last round has left off, and some more.
        setup.client.await_reply(&ids[round * 10]);
        setup.daemon.kill();
        let counted = {
            let stopped = Stopped::open(&setup.daemon.workdir());
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
    let tried = replies.iter().filter(|reply| is_tried(reply)).count();
    assert_eq!(tried, 100, "{name}");
    let (action, args) = guess(name);
    assert_waits_an_hour(&setup.client.call(action, args));
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
    assert_eq!(count_of(&setup, name), 100);
}

fn count_of(setup: &Setup, name: &str) -> u32 {
    let stopped = Stopped::open(&setup.daemon.workdir());
    stopped.failures_of(name).count
}

#[test]
fn a_user_is_tried_a_hundred_times_at_most_over_a_kill_storm() {
    a_kill_storm(NAMES[0]);
}

#[test]
fn an_unknown_name_is_tried_a_hundred_times_at_most_over_a_kill_storm() {
    a_kill_storm(NAMES[1]);
}

/// The guess is answered as a wrong one, and counted once, wherever the
/// daemon dies with it.
#[test]
fn a_guess_that_is_delivered_again_counts_once() {
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
            // The next one is the last that is tried.
            fail_long_ago(&mut setup, &[name], 99);
            assert!(setup.daemon.stop().success());
            wait_until_closed(&setup.daemon.workdir());
            let (action, args) = guess(name);
            let id = setup.client.send(action, args);
            let folder = setup.daemon.folder();
            let mut doomed = Daemon::launch(folder, &setup.redis, &[FIVE], |mut command| {
                command.env("USERD_CRASH_AT", format!("{point}:1"));
                command
            });
            assert_eq!(doomed.wait().signal(), Some(Signal::ABORT.as_raw()));
            wait_until_closed(&setup.daemon.workdir());
            setup.daemon.restart();
            assert!(is_tried(&setup.client.reply(&id)), "{point}, {name}");
            let count = count_after_kill(&mut setup, name);
            assert_eq!(count, 100, "{point}, {name}");
        }
    }
}
