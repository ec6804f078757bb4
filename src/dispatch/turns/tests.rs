use std::pin::Pin;

use futures_util::FutureExt as _;

use super::*;
use crate::model::DeliveryId;

/// Turns, and the folder of their notes.
struct Stage {
    _folder: tempfile::TempDir,
    turns: Turns,
}

type Waiting<'t> = Pin<Box<dyn Future<Output = Result<Option<Turn>, NoTurn>> + 't>>;

impl Stage {
    fn new(hashing: usize, max_wait: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("running");
        let (running, _) = CrashJournal::open(&path, Turns::count(hashing)).unwrap();
        Self {
            turns: Turns::new(hashing, max_wait, running),
            _folder: folder,
        }
    }

    /// A login under a name, which has queued up.
    fn login(&self, name: u8) -> Waiting<'_> {
        self.request(Cost::Hash, name, 0)
    }

    fn request(&self, cost: Cost, name: u8, bytes: usize) -> Waiting<'_> {
        let id = DeliveryId {
            boot: [0; 16],
            batch: 0,
            position: 0,
        };
        let mut context = DeliveryContext::new(id, false);
        context.holds(bytes);
        let wait = async move {
            let name = || NameHash([name; 16]);
            self.turns.wait(cost, name, &mut context).await
        };
        Box::pin(wait)
    }
}

const LONG: Duration = Duration::from_secs(3_600);

fn turn(waiting: &mut Waiting<'_>) -> Option<Turn> {
    match waiting.now_or_never() {
        Some(Ok(turn)) => Some(turn.expect("a login needs a turn")),
        None => None,
        Some(Err(error)) => panic!("{error:?}"),
    }
}

fn refusal(waiting: &mut Waiting<'_>) -> NoTurn {
    match waiting.now_or_never() {
        Some(Err(refusal)) => refusal,
        _ => panic!("it was not refused"),
    }
}

#[tokio::test]
async fn light_work_needs_no_turn_and_passes_by() {
    let stage = Stage::new(1, LONG);
    let _held = turn(&mut stage.login(1)).unwrap();
    let mut light = stage.request(Cost::Light, 1, usize::MAX);
    assert!(matches!(light.as_mut().now_or_never(), Some(Ok(None))));
}

#[tokio::test]
async fn a_waiter_that_is_dropped_keeps_nobody_waiting() {
    let stage = Stage::new(1, LONG);
    let held = turn(&mut stage.login(1)).unwrap();
    let [mut first, mut second, mut third] = [2, 3, 4].map(|name| stage.login(name));
    for waiting in [&mut first, &mut second, &mut third] {
        assert!(turn(waiting).is_none());
    }
    // One is dropped before its turn, one when its turn has come and it has not
    // noticed yet.
    drop(first);
    drop(held);
    drop(second);
    assert!(turn(&mut third).is_some());
    assert_eq!(stage.turns.hashing.lock().waiting_bytes, 0);
}

#[tokio::test]
async fn closing_turns_away_what_waits_and_lets_go_on_what_has_begun() {
    let stage = Stage::new(1, LONG);
    let held = turn(&mut stage.login(1)).unwrap();
    let mut waiting = [1, 1, 2].map(|name| stage.login(name));
    for waiting in &mut waiting {
        assert!(turn(waiting).is_none());
    }
    stage.turns.close();
    for waiting in &mut waiting {
        assert_eq!(refusal(waiting), NoTurn::Closed);
    }
    assert_eq!(refusal(&mut stage.login(3)), NoTurn::Closed);
    drop(waiting);
    drop(held);
    assert_eq!(refusal(&mut stage.login(3)), NoTurn::Closed);
}

/// The first estimate is 100 ms for a turn, and no turn ends here.
#[tokio::test]
async fn a_flood_for_one_name_is_refused_and_another_name_is_not() {
    let stage = Stage::new(4, Duration::from_secs(4));
    let mut flood = Vec::new();
    let refused = loop {
        let mut login = stage.login(1);
        match login.as_mut().now_or_never() {
            None => flood.push(login),
            Some(Ok(turn)) => {
                // It holds the turn for good.
                std::mem::forget(turn);
            }
            Some(Err(refused)) => break refused,
        }
    };
    assert_eq!(refused, NoTurn::Busy(1));
    // 80 are expected to be served within 4 s, at two at a time.
    assert_eq!(flood.len(), 81);
    let mut other = stage.login(2);
    assert!(turn(&mut other).is_some(), "half of the turns are left");
    for name in 3..20 {
        let mut login = stage.login(name);
        if login.as_mut().now_or_never().is_none() {
            flood.push(login);
        }
    }
    assert_eq!(refusal(&mut stage.login(1)), NoTurn::Busy(1));
}

#[tokio::test]
async fn up_to_64_wait_however_long_that_takes() {
    let stage = Stage::new(1, Duration::from_secs(1));
    let _held = turn(&mut stage.login(0)).unwrap();
    let mut waiting = Vec::new();
    for name in 1..=65 {
        let mut login = stage.login(name);
        assert!(turn(&mut login).is_none());
        waiting.push(login);
    }
    // 65 turns of 100 ms each.
    assert_eq!(refusal(&mut stage.login(99)), NoTurn::Busy(6));
    // Another class is not affected.
    let mut listing = stage.request(Cost::Listing, 0, 0);
    assert!(listing.as_mut().now_or_never().is_some());
}

/// A flood of listings with long tokens refused logins, for which nobody waited.
#[tokio::test]
async fn what_waits_is_bounded_by_bytes_in_its_class_alone() {
    let stage = Stage::new(1, LONG);
    let costs = [Cost::Listing, Cost::Sessions, Cost::TokenHashes, Cost::Hash];
    for (cost, most) in costs.into_iter().zip([4, 4, 4, 20]) {
        let large = |name| stage.request(cost, name, (1 << 20) - WAITING_OVERHEAD);
        let _held = turn(&mut large(0)).unwrap();
        // However large they are.
        let mut waiting: Vec<_> = (1..=65).map(large).collect();
        for waiting in &mut waiting {
            assert!(turn(waiting).is_none());
        }
        assert_eq!(refusal(&mut large(66)), NoTurn::Busy(1));
        drop(waiting);

        let small = |name| stage.request(cost, name, 0);
        let mut waiting: Vec<_> = (1..=65).map(small).collect();
        waiting.extend((66..65 + most).map(large));
        for waiting in &mut waiting {
            assert!(turn(waiting).is_none());
        }
        assert_eq!(refusal(&mut large(99)), NoTurn::Busy(1));
        assert!(turn(&mut small(99)).is_none());
        drop(waiting);
    }
}

/// A flood of long requests under one name refused logins under all others.
#[tokio::test]
async fn one_name_leaves_half_of_the_bytes_to_others() {
    let stage = Stage::new(1, LONG);
    let _held = turn(&mut stage.login(0)).unwrap();
    let large = || stage.request(Cost::Hash, 1, (128 << 10) - WAITING_OVERHEAD);
    // 10 of 20 MiB.
    let mut flood: Vec<_> = (0..80).map(|_| large()).collect();
    for waiting in &mut flood {
        assert!(turn(waiting).is_none());
    }
    assert_eq!(refusal(&mut large()), NoTurn::Busy(1));
    let mut other = stage.request(Cost::Hash, 2, 9 << 20);
    assert!(turn(&mut other).is_none());
}

/// While Redis was away, a list held its turn until it could be sent: after that
/// others were told to try again in a minute.
#[tokio::test]
async fn a_turn_that_waited_for_redis_counts_as_a_long_one() {
    let stage = Stage::new(1, LONG);
    let mut list = stage.request(Cost::Listing, 0, 0);
    let mut list = turn(&mut list).unwrap();
    list.did_its_work();
    list.permit.since -= Duration::from_secs(600);
    drop(list);
    assert!(stage.turns.listing.lock().estimate < Duration::from_secs(1));
}

/// Attempts that the throttle refuses are over at once. They must not let the
/// queue look faster than it is.
#[tokio::test]
async fn only_turns_that_did_their_work_are_measured() {
    let stage = Stage::new(1, LONG);
    let estimate = || stage.turns.hashing.lock().estimate;
    drop(turn(&mut stage.login(1)));
    assert_eq!(estimate(), FIRST_ESTIMATE);
    let mut hashed = turn(&mut stage.login(1)).unwrap();
    hashed.did_its_work();
    drop(hashed);
    assert!(estimate() < FIRST_ESTIMATE);
}
