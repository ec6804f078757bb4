//! Users: ids, names and deletion.

use serde_json::{Value, json};

use super::{is_password, log_in};
use crate::support::{Client, Reply, Setup};

fn create(client: &mut Client, session: &str, name: &str) -> Reply {
    let args = json!({"username": name, "password": "secret", "session_token": session});
    client.call("create_user", args)
}

#[track_caller]
fn delete(client: &mut Client, session: &str, name: &str) {
    let args = json!({"username": name, "session_token": session});
    assert_eq!(client.call("delete_user", args).ok(), &json!(true));
}

#[track_caller]
fn id_of(reply: &Reply) -> u64 {
    reply.ok()["user_id"].as_u64().unwrap()
}

/// Returns ids and names of all users, in the order of the reply.
fn users(client: &mut Client) -> Vec<(u64, String)> {
    let reply = client.call("get_users", json!({}));
    let users = reply.ok().as_array().unwrap().iter();
    users
        .map(|user| {
            let name = user["username"].as_str().unwrap();
            (user["user_id"].as_u64().unwrap(), name.to_owned())
        })
        .collect()
}

#[test]
fn ids_grow_from_1_without_gaps() {
    let mut setup = Setup::new();
    let client = &mut setup.client;
    for refused in [
        json!(["", "secret"]),
        json!(["alice", ""]),
        json!(["alice"]),
    ] {
        assert!(!client.call("create_user", refused).errors().is_empty());
    }
    let first = client.call("create_user", json!(["alice", "secret"]));
    assert_eq!(id_of(&first), 1);
    let session = log_in(client, "alice", "secret");
    for (id, name) in (2..).zip(["bob", "carol", "dave"]) {
        for refused in [
            json!({"username": "alice", "password": "secret", "session_token": session}),
            json!({"username": name, "password": "", "session_token": session}),
            json!({"username": "", "password": "secret", "session_token": session}),
            json!({"username": name, "password": "secret"}),
            json!({"username": name, "password": "secret", "session_token": "x"}),
            json!({"username": name, "password": "secret", "session_token": session, "foo": 1}),
        ] {
            assert!(!client.call("create_user", refused).errors().is_empty());
        }
        assert_eq!(id_of(&create(client, &session, name)), id);
    }
}

/// Not even the last id, after a restart or after all users are deleted.
#[test]
fn ids_are_never_reused() {
    let mut setup = Setup::with_alice(&[]);
    let session = log_in(&mut setup.client, "alice", "secret");
    assert_eq!(id_of(&create(&mut setup.client, &session, "bob")), 2);
    delete(&mut setup.client, &session, "bob");
    assert_eq!(id_of(&create(&mut setup.client, &session, "bob")), 3);
    delete(&mut setup.client, &session, "bob");
    setup.daemon.kill();
    setup.daemon.restart();
    assert_eq!(id_of(&create(&mut setup.client, &session, "bob")), 4);
    delete(&mut setup.client, &session, "bob");
    delete(&mut setup.client, &session, "alice");
    let reply = create(&mut setup.client, &session, "carol");
    assert_eq!(id_of(&reply), 5, "the first user needs no authentication");
}

#[test]
fn users_are_listed_by_id() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let session = log_in(client, "alice", "secret");
    let mut expected = vec![(1, "alice".to_owned())];
    for id in 2..=12 {
        let name = format!("user{}", 100 - id);
        create(client, &session, &name).ok();
        expected.push((id, name));
    }
    assert_eq!(users(client), expected);
    delete(client, &session, &expected.remove(5).1);
    assert_eq!(users(client), expected);
}

#[test]
fn names_are_compared_byte_for_byte() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let session = log_in(client, "alice", "secret");
    let names = [
        "Alice",
        "ALICE",
        "alice ",
        " alice",
        "al ice",
        "al\u{200d}ice",
        "аlice",         // Cyrillic
        "amélie",        // composed
        "ame\u{301}lie", // decomposed
        "straße",
        "strasse",
        "İ",
        "i",
        "*",
        "alice:1",
        "../alice",
        "😀",
    ];
    for name in names {
        let user = create(client, &session, name);
        assert_eq!(user.ok()["username"], name);
        create(client, &session, name).fails(&format!("The user {name} already exists"));
    }
    let listed: Vec<_> = users(client).into_iter().skip(1).map(|(_, n)| n).collect();
    assert_eq!(listed, names);
    for name in names {
        let token = log_in(client, name, "secret");
        let user = client.call("authenticate_session", json!([token]));
        assert_eq!(user.ok()["username"], name);
    }
    delete(client, &session, "Alice");
    assert!(!is_password(client, "Alice", "secret"));
    assert!(is_password(client, "alice", "secret"));
    assert!(is_password(client, "ALICE", "secret"));
}

/// Credentials and sessions of a deleted user are invalid, also after a new user with the same
/// name exists.
#[test]
fn credentials_of_a_deleted_user_are_invalid() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let admin = log_in(client, "alice", "secret");
    create(client, &admin, "bob").ok();
    let sessions: Vec<_> = (0..3).map(|_| log_in(client, "bob", "secret")).collect();
    delete(client, &admin, "bob");
    assert_eq!(users(client), [(1, "alice".to_owned())]);
    assert_invalid(client, &sessions);
    assert!(!is_password(client, "bob", "secret"));
    let login = client.call("create_session", json!(["bob", "secret"]));
    login.fails("Invalid credentials");
    let update = client.call("update_password", json!(["bob", "secret", "x"]));
    assert_eq!(update.ok(), &json!(false));
    let by_bob = json!({"username": "carol", "password": "x", "executing_user": "bob",
        "executing_user_password": "secret"});
    let invalid = "Invalid credentials and/or session_token";
    client.call("create_user", by_bob).fails(invalid);
    let args = json!({"username": "bob", "session_token": admin});
    client.call("delete_user", args).fails("No such user: bob");

    let args = json!({"username": "bob", "password": "other", "session_token": admin});
    assert_eq!(id_of(&client.call("create_user", args)), 3);
    assert_invalid(client, &sessions);
    assert!(!is_password(client, "bob", "secret"));
    let own = log_in(client, "bob", "other");
    let user = client.call("authenticate_session", json!([own]));
    assert_eq!(id_of(&user), 3);
}

#[track_caller]
fn assert_invalid(client: &mut Client, sessions: &[String]) {
    for session in sessions {
        let reply = client.call("authenticate_session", json!([session]));
        reply.fails("Invalid session token");
        let reply = client.call("get_user_by_session", json!([session]));
        reply.fails("No user associated with the specified session token");
        let invalid = "Invalid credentials and/or session_token";
        create(client, session, "mallory").fails(invalid);
        let args = json!({"username": "alice", "session_token": session});
        client.call("delete_user", args).fails(invalid);
    }
    for session in sessions {
        let reply = client.call("delete_session", json!([session]));
        assert_eq!(reply.ok(), &json!(false));
    }
}

/// After the last user has deleted itself, the next user needs no authentication.
#[test]
fn the_last_user_can_delete_itself() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let session = log_in(client, "alice", "secret");
    delete(client, &session, "alice");
    assert_eq!(users(client), []);
    let reply = client.call("authenticate_session", json!([session]));
    reply.fails("Invalid session token");
    let first = client.call("create_user", json!(["alice", "secret"]));
    assert_eq!(id_of(&first), 2);
    let reply = client.call("authenticate_session", json!([session]));
    reply.fails("Invalid session token");
}

#[test]
fn only_one_of_many_concurrent_first_users_is_created() {
    let mut setup = Setup::new();
    let client = &mut setup.client;
    let ids: Vec<_> = (0..100)
        .map(|n| client.send("create_user", json!([format!("user{n}"), "secret"])))
        .collect();
    let mut created = Vec::new();
    for id in ids {
        let reply = client.reply(&id);
        if reply.errors().is_empty() {
            created.push(reply.output()["user_id"].clone());
        } else {
            reply.fails("You need to authenticate in order to create another user");
        }
    }
    assert_eq!(created, [json!(1)]);
    assert_eq!(users(client).len(), 1);
}

#[test]
fn only_one_of_many_concurrent_users_with_the_same_name_is_created() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let session = log_in(client, "alice", "secret");
    let args = json!({"username": "bob", "password": "secret", "session_token": session});
    let ids: Vec<_> = (0..50)
        .map(|_| client.send("create_user", args.clone()))
        .collect();
    let replies: Vec<_> = ids.iter().map(|id| client.reply(id)).collect();
    let (created, refused): (Vec<_>, Vec<_>) =
        replies.iter().partition(|reply| reply.errors().is_empty());
    assert_eq!(created.len(), 1);
    for reply in refused {
        reply.fails("The user bob already exists");
    }
    assert_eq!(id_of(&create(client, &session, "carol")), 3);
}

/// Deleting one session affects no other session of the same or another user.
#[test]
fn sessions_are_independent() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let first = log_in(client, "alice", "secret");
    let second = log_in(client, "alice", "secret");
    create(client, &first, "bob").ok();
    let of_bob = log_in(client, "bob", "secret");
    assert!(first != second && second != of_bob);
    let deleted = client.call("delete_session", json!([first]));
    assert_eq!(deleted.ok(), &json!(true));
    let deleted = client.call("delete_session", json!([first]));
    assert_eq!(deleted.ok(), &json!(false));
    let reply = client.call("authenticate_session", json!([first]));
    reply.fails("Invalid session token");
    for (token, name) in [(second, "alice"), (of_bob, "bob")] {
        let user = client.call("authenticate_session", json!([token]));
        assert_eq!(user.ok()["username"], Value::from(name));
    }
}
