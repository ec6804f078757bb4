//! Users: ids, names and stored data.

use platypush_userd::model::User;
use platypush_userd::store::{Precondition, StoreError};

use super::Engine;
use super::bench::{Bench, at, at_once, new_user, proof, wait};
use crate::store_changes::Changes as _;

fn ids<E: Engine>(bench: &Bench<E>) -> Vec<u64> {
    let users = wait(bench.store().users()).unwrap();
    users.iter().map(|user| user.id).collect()
}

pub fn ids_grow_from_one_without_gaps<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    for id in 1..=4 {
        assert_eq!(bench.user(&format!("user-{id}")).id, id);
    }
    bench.reopen();
    assert_eq!(bench.user("after reopening").id, 5);
}

pub fn ids_are_never_reused<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("a");
    bench.user("b");
    bench.delete("b");
    assert_eq!(bench.user("b").id, 3);
    bench.delete("b");
    bench.reopen();
    assert_eq!(bench.user("c").id, 4);
    bench.delete("c");
    bench.delete("a");
    bench.reopen();
    assert_eq!(bench.user("a").id, 5, "also after all users are deleted");
}

pub fn a_user_is_stored_as_created<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let moments = [0, 1, -1, 1_795_521_600_999_999, 253_402_300_799_999_999];
    let mut created = Vec::new();
    for micros in moments {
        let mut new = new_user(&format!("at {micros}"));
        new.created_at = at(micros);
        let expected = User::new(
            created.len() as u64 + 1,
            new.username.clone(),
            new.created_at,
            new.password.clone(),
        );
        let precondition = match created.first() {
            Some(user) => Precondition::Password(proof(user)),
            None => Precondition::NoUsers,
        };
        assert_eq!(
            wait(bench.store().create_user(new, precondition, None)).unwrap(),
            expected
        );
        assert_eq!(bench.read(&expected.username), expected);
        created.push(expected);
    }
    assert_eq!(bench.state().users, created);
    bench.reopen();
    assert_eq!(bench.state().users, created);
}

pub fn a_taken_name_is_refused_and_uses_no_id<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    bench.session(1, &alice, None);
    for precondition in [
        Precondition::Password(proof(&alice)),
        Precondition::Session(super::bench::token(1)),
    ] {
        let mut again = new_user("alice");
        again.password = super::bench::record("another");
        bench.refuses(
            &StoreError::NameTaken,
            bench.store().create_user(again, precondition, None),
        );
    }
    assert_eq!(bench.user("bob").id, 2);
}

pub fn no_users_holds_before_the_first_user_and_after_the_last<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let create = |bench: &Bench<E>, name| {
        wait(
            bench
                .store()
                .create_user(new_user(name), Precondition::NoUsers, None),
        )
    };
    let has_users = |bench: &Bench<E>| wait(bench.store().has_users()).unwrap();

    bench.refuses(
        &StoreError::NoSuchUser,
        bench
            .store()
            .delete_user("nobody", Precondition::NoUsers, None),
    );
    assert!(!has_users(&bench));
    create(&bench, "a").unwrap();
    assert!(has_users(&bench));
    bench.refuses(
        &StoreError::Conflict,
        bench
            .store()
            .create_user(new_user("b"), Precondition::NoUsers, None),
    );
    bench.refuses(
        &StoreError::Conflict,
        bench.store().delete_user("a", Precondition::NoUsers, None),
    );
    bench.user("b");
    bench.delete("a");
    assert!(has_users(&bench), "one of two is left");
    bench.delete("b");
    assert!(!has_users(&bench));
    bench.reopen();
    assert!(!has_users(&bench));
    assert_eq!(create(&bench, "c").unwrap().id, 3, "a refusal uses no id");
}

pub fn an_unknown_user_cannot_be_deleted<E: Engine>() {
    let bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    for name in ["bob", "Alice", "alic", "alice "] {
        let precondition = Precondition::Password(proof(&alice));
        bench.refuses(
            &StoreError::NoSuchUser,
            bench.store().delete_user(name, precondition, None),
        );
    }
}

pub fn names_are_compared_byte_for_byte<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let longest = "ü".repeat(127) + "x";
    let names = [
        "a",
        "A",
        " a",
        "a ",
        "a\n",
        "",
        " ",
        "\0",
        "a\0",
        "\0a",
        "a\0b",
        // Two encodings of é, and names that case folding or trimming would merge.
        "é",
        "e\u{301}",
        "ß",
        "ss",
        "SS",
        "ﬀ",
        "ff",
        "\u{200b}a",
        "\u{feff}a",
        "ı",
        "i",
        // Names that look like keys of the store, and characters that JSON escapes.
        "m:users",
        "u:1",
        "n:a",
        "s:",
        "\"",
        "\\",
        "\\u0000",
        "\u{10ffff}",
        "👩‍👩‍👧",
        "longest",
        &longest[..254],
        &longest,
        "\u{7f}",
    ];
    for (name, id) in names.iter().zip(1..) {
        assert_eq!(bench.user(name).id, id, "{name:?}");
    }
    bench.reopen();
    for (name, id) in names.iter().zip(1..) {
        let found = bench.read(name);
        assert_eq!((found.id, found.username.as_str()), (id, *name));
    }
    for unknown in ["b", "aa", "É", "\0\0", "n:", "a\0bc", &longest[..252]] {
        let found = wait(bench.store().user_by_name(unknown)).unwrap();
        assert_eq!(found, None, "{unknown:?}");
    }
    bench.delete("a\0");
    let left: Vec<_> = names.iter().filter(|name| **name != "a\0").collect();
    let users = wait(bench.store().users()).unwrap();
    assert!(users.iter().map(|user| &user.username).eq(left));
}

pub fn users_are_listed_in_numeric_order_of_ids<E: Engine>() {
    let bench = Bench::<E>::fresh();
    let first = bench.user("first");
    // Beyond 9 and 255, where text and single bytes would sort differently.
    at_once(4, async |thread| {
        for number in 0..75 {
            let new = new_user(&format!("{thread}-{number}"));
            let precondition = Precondition::Password(proof(&first));
            bench
                .store()
                .create_user(new, precondition, None)
                .await
                .unwrap();
        }
    });
    assert!(ids(&bench).into_iter().eq(1..=301));
}
