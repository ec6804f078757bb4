use std::pin::Pin;

use futures_util::FutureExt as _;

use super::*;
use crate::model::DeliveryId;

/// Turns, with the folder of their crash journal.
struct Stage {
    _folder: tempfile::TempDir,
    turns: Turns,
}

type Waiting<'t> = Pin<Box<dyn Future<Output = Result<Option<Turn>, NoTurn>> + 't>>;

impl Stage {
    fn new(hashing: usize, max_wait: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("running");
        let (journal, _) = CrashJournal::open(&path, Turns::count(hashing)).unwrap();
        Self {
            turns: Turns::new(hashing, max_wait, journal),
            _folder: folder,
        }
    }

    /// Returns a login under a name. It queues up when it is first polled.
    fn login(&self, name: u8) -> Waiting<'_> {
        self.request(Cost::Hash, name, 0)
    }

    fn request(&self, cost: Cost, name: u8, bytes: usize) -> Waiting<'_> {
        let id = DeliveryId {
            run_id: [0; 16],
            batch: 0,
            position: 0,
        };
        let mut delivery = Delivery::new(id, false);
        delivery.bytes = bytes;
        let wait = async move {
            let name = || NameHash([name; 16]);
            self.turns.wait(cost, name, &mut delivery).await
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
        _ => panic!("the request was not refused"),
    }
}

#[tokio::test]
async fn a_light_request_needs_no_turn() {
    let stage = Stage::new(1, LONG);
    let _held = turn(&mut stage.login(1)).unwrap();
    let mut light = stage.request(Cost::Light, 1, usize::MAX);
    assert!(matches!(light.as_mut().now_or_never(), Some(Ok(None))));
}

#[tokio::test]
async fn a_dropped_waiter_blocks_no_other_waiter() {
    let stage = Stage::new(1, LONG);
    let held = turn(&mut stage.login(1)).unwrap();
    let [mut first, mut second, mut third] = [2, 3, 4].map(|name| stage.login(name));
    for waiting in [&mut first, &mut second, &mut third] {
        assert!(turn(waiting).is_none());
    }
    // The first waiter is dropped before its turn, the second one after its turn was granted and
    // before it was polled again.
    drop(first);
    drop(held);
    drop(second);
    assert!(turn(&mut third).is_some());
    assert_eq!(stage.turns.hashing.lock().waiting_bytes, 0);
}

#[tokio::test]
async fn closing_refuses_waiting_requests_and_keeps_running_ones() {
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

/// No turn ends in this test, so the estimate of a turn stays at 100 ms.
#[tokio::test]
async fn a_flood_under_one_name_is_refused_and_another_name_is_not() {
    let stage = Stage::new(4, Duration::from_secs(4));
    let mut flood = Vec::new();
    let refused = loop {
        let mut login = stage.login(1);
        match login.as_mut().now_or_never() {
            None => flood.push(login),
            Some(Ok(turn)) => {
                // Keeps the turn.
                std::mem::forget(turn);
            }
            Some(Err(refused)) => break refused,
        }
    };
    assert_eq!(refused, NoTurn::Busy(1));
    // 80 are expected to be served within 4 s, at two at a time.
    assert_eq!(flood.len(), 81);
    let mut other = stage.login(2);
    assert!(turn(&mut other).is_some(), "half of the turns are free");
    for name in 3..20 {
        let mut login = stage.login(name);
        if login.as_mut().now_or_never().is_none() {
            flood.push(login);
        }
    }
    assert_eq!(refusal(&mut stage.login(1)), NoTurn::Busy(1));
}

#[tokio::test]
async fn up_to_64_requests_wait_for_any_time() {
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

/// Regression test: a flood of listings with long tokens caused the refusal of logins, although no
/// login waited.
#[tokio::test]
async fn bytes_of_waiting_requests_are_bounded_for_each_class() {
    let stage = Stage::new(1, LONG);
    let costs = [Cost::Listing, Cost::Sessions, Cost::TokenHashes, Cost::Hash];
    for (cost, max_large) in costs.into_iter().zip([4, 4, 4, 20]) {
        let large = |name| stage.request(cost, name, (1 << 20) - WAITING_OVERHEAD);
        let _held = turn(&mut large(0)).unwrap();
        // 65 requests are accepted whatever their size.
        let mut waiting: Vec<_> = (1..=65).map(large).collect();
        for waiting in &mut waiting {
            assert!(turn(waiting).is_none());
        }
        assert_eq!(refusal(&mut large(66)), NoTurn::Busy(1));
        drop(waiting);

        let small = |name| stage.request(cost, name, 0);
        let mut waiting: Vec<_> = (1..=65).map(small).collect();
        waiting.extend((66..65 + max_large).map(large));
        for waiting in &mut waiting {
            assert!(turn(waiting).is_none());
        }
        assert_eq!(refusal(&mut large(99)), NoTurn::Busy(1));
        assert!(turn(&mut small(99)).is_none());
        drop(waiting);
    }
}

/// Regression test: a flood of long requests under one name caused the refusal of logins under all
/// other names.
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

/// Regression test: while Redis was unreachable, a listing held its turn until its reply was sent.
/// After that other listings were refused for a minute.
#[tokio::test]
async fn a_turn_that_waited_for_redis_counts_up_to_the_maximum() {
    let stage = Stage::new(1, LONG);
    let mut list = stage.request(Cost::Listing, 0, 0);
    let mut list = turn(&mut list).unwrap();
    list.is_measured = true;
    list.since -= Duration::from_secs(600);
    drop(list);
    assert!(stage.turns.listing.lock().estimate < Duration::from_secs(1));
}

/// Attempts that the throttle refuses end at once. If they counted, the estimate would be too low.
#[tokio::test]
async fn only_turns_that_hashed_are_measured() {
    let stage = Stage::new(1, LONG);
    let estimate = || stage.turns.hashing.lock().estimate;
    drop(turn(&mut stage.login(1)));
    assert_eq!(estimate(), FIRST_ESTIMATE);
    let mut hashed = turn(&mut stage.login(1)).unwrap();
    hashed.is_measured = true;
    drop(hashed);
    assert!(estimate() < FIRST_ESTIMATE);
}
