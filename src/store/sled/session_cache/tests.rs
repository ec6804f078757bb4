//! Model test of the cache: slow readers, concurrent writes and a small capacity.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Model of the disk: the user of each session, and the number of changes of each user.
#[derive(Default)]
struct Disk {
    sessions: HashMap<u8, u8>,
    users: HashMap<u8, u64>,
}

/// Session that a reader has read but not yet offered.
struct Reading {
    ticket: Ticket,
    found: (Session, Profile),
}

#[derive(Debug, Clone)]
enum Step {
    /// A reader looks up a session, and offers it later if it was not cached.
    Read(u8),
    /// The reader with this index offers its session.
    Offer(usize),
    /// The writer creates or replaces a session of a user.
    Create(u8, u8),
    /// The writer removes a session.
    Remove(u8),
    /// The writer changes a user and thereby its sessions.
    Change(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..12u8).prop_map(Step::Read),
        4 => (0..6usize).prop_map(Step::Offer),
        2 => (0..12u8, 0..4u8).prop_map(|(session, user)| Step::Create(session, user)),
        1 => (0..12u8).prop_map(Step::Remove),
        1 => (0..4u8).prop_map(Step::Change),
    ];
    vec(step, 1..200)
}

fn token(number: u8) -> TokenHash {
    // Tokens with the same remainder share a table and a slot.
    let mut bytes = [number % 3; 32];
    bytes[31] = number;
    bytes[8] = number;
    TokenHash(bytes)
}

fn moment(micros: i64) -> Timestamp {
    DateTime::from_timestamp_micros(micros).unwrap()
}

impl Disk {
    fn read(&self, number: u8) -> Option<(Session, Profile)> {
        let user = *self.sessions.get(&number)?;
        let changes = self.users.get(&user).copied().unwrap_or(0);
        let session = Session {
            token: token(number),
            user_id: user.into(),
            generation: changes,
            created_at: moment(1),
            expires_at: number.is_multiple_of(2).then(|| moment(2)),
            used_at: moment(3),
        };
        let profile = Profile {
            id: user.into(),
            username: "n".repeat(user.into()),
            created_at: moment(4),
            generation: changes,
            has_second_factor: changes % 2 == 1,
        };
        Some((session, profile))
    }
}

fn run(cache: &SessionCache, steps: Vec<Step>) -> Result<usize, TestCaseError> {
    let mut disk = Disk::default();
    let mut readings: Vec<Reading> = Vec::new();
    let mut hits = 0;
    for step in steps {
        match step {
            Step::Read(number) => match cache.get(&token(number)) {
                Ok(found) => {
                    hits += 1;
                    prop_assert_eq!(Some(found), disk.read(number));
                }
                Err(ticket) => {
                    readings.extend(disk.read(number).map(|found| Reading { ticket, found }))
                }
            },
            Step::Offer(which) if which < readings.len() => {
                let Reading { ticket, found } = readings.swap_remove(which);
                cache.offer(ticket, &found.0, &found.1);
            }
            Step::Offer(_) => {}
            Step::Create(number, user) => {
                disk.sessions.insert(number, user);
                cache.invalidate(&Stale {
                    tokens: vec![token(number)],
                    users: vec![],
                });
            }
            Step::Remove(number) => {
                disk.sessions.remove(&number);
                cache.invalidate(&Stale {
                    tokens: vec![token(number)],
                    users: vec![],
                });
            }
            Step::Change(user) => {
                *disk.users.entry(user).or_default() += 1;
                cache.invalidate(&Stale {
                    tokens: vec![],
                    users: vec![user.into()],
                });
            }
        }
        let inner = cache.lock();
        let bytes: usize = inner
            .tables
            .iter()
            .flatten()
            .map(|cached| cached.bytes())
            .sum();
        prop_assert_eq!(bytes, inner.bytes);
        prop_assert!(bytes <= inner.max_bytes);
    }
    Ok(hits)
}

proptest! {
    #[test]
    fn a_cached_session_equals_the_session_on_disk(steps in steps()) {
        run(&SessionCache::new(usize::MAX), steps)?;
    }

    #[test]
    fn a_small_capacity_changes_no_answer(steps in steps(), sessions in 0..6usize) {
        run(&SessionCache::new(sessions * 180), steps)?;
    }
}

#[test]
fn an_offered_session_is_cached() {
    let mut disk = Disk::default();
    disk.sessions.insert(1, 2);
    let cache = SessionCache::new(usize::MAX);
    let ticket = cache.get(&token(1)).unwrap_err();
    let (session, profile) = disk.read(1).unwrap();
    cache.offer(ticket, &session, &profile);
    assert_eq!(cache.get(&token(1)).unwrap(), (session, profile));
}

#[test]
fn an_offer_from_before_too_many_changes_is_rejected() {
    let mut disk = Disk::default();
    disk.sessions.insert(1, 2);
    let cache = SessionCache::new(usize::MAX);
    let ticket = cache.get(&token(1)).unwrap_err();
    let (session, profile) = disk.read(1).unwrap();
    let users = (0..=MAX_USERS as u64).collect();
    cache.invalidate(&Stale {
        tokens: vec![],
        users,
    });
    cache.offer(ticket, &session, &profile);
    assert!(cache.get(&token(1)).is_err());
    assert!(cache.lock().users.is_empty());
}
