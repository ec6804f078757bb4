//! Simultaneous requests that conflict: the single writer orders them, and each conflict has
//! exactly one outcome.

use serde_json::{Value, json};

use crate::support::{Client, Daemon, Reply, Setup};

/// As many hashing threads as simultaneous requests, so that none waits for another and all reach
/// the writer with preconditions from before the first write.
const WIDE: (&str, &str) = ("PASSWORD__THREADS", "50");

/// Pushes requests with one command, so that all of them are in flight together, and returns their
/// replies.
fn race<'a>(
    client: &mut Client,
    requests: impl IntoIterator<Item = (&'a str, Value)>,
) -> Vec<Reply> {
    let ids = client.send_all(requests);
    ids.iter().map(|id| client.reply(id)).collect()
}

/// Asserts that exactly one request succeeded and that all others failed with the error `conflict`.
/// Returns the index of the successful request.
#[track_caller]
fn assert_one_wins(replies: &[Reply], conflict: &str) -> usize {
    let winners: Vec<_> = (0..replies.len())
        .filter(|n| replies[*n].errors().is_empty())
        .collect();
    for (n, reply) in replies.iter().enumerate() {
        if !winners.contains(&n) {
            reply.fails(conflict);
        }
    }
    assert_eq!(winners.len(), 1, "winners: {winners:?}");
    winners[0]
}

fn names(client: &mut Client) -> Vec<String> {
    let users = client.call("get_users", json!({}));
    let users = users.ok().as_array().unwrap().iter();
    users
        .map(|user| user["username"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn one_of_many_first_users_is_created_without_authentication() {
    let mut setup = Setup::with(&[WIDE]);
    let creations = (0..100).map(|n| ("create_user", json!([format!("first-{n}"), "secret"])));
    let replies = race(&mut setup.client, creations);
    let text = "You need to authenticate in order to create another user";
    let winner = assert_one_wins(&replies, text);
    assert_eq!(replies[winner].ok()["user_id"], 1);
    assert_eq!(names(&mut setup.client), [format!("first-{winner}")]);
}

#[test]
fn one_of_many_users_with_the_same_name_is_created() {
    let mut setup = Setup::with_alice(&[WIDE]);
    let token = setup.session_of_alice();
    let client = &mut setup.client;
    let create = |name: &str, password: String| {
        let args = json!({"username": name, "password": password, "session_token": token});
        ("create_user", args)
    };
    let replies = race(
        client,
        (0..100).map(|n| create("bob", format!("secret-{n}"))),
    );
    let winner = assert_one_wins(&replies, "The user bob already exists");
    assert_eq!(names(client), ["alice", "bob"]);
    // The user has the password of the winner, and the failed requests took no id.
    let password = format!("secret-{winner}");
    let login = client.call("authenticate_user", json!(["bob", password]));
    assert_eq!(login.ok(), true);
    let (action, args) = create("carol", "secret".into());
    assert_eq!(client.call(action, args).ok()["user_id"], 3);
}

#[test]
fn one_of_many_changes_of_a_password_succeeds() {
    let mut setup = Setup::with_alice(&[WIDE]);
    let client = &mut setup.client;
    let changes = (0..50).map(|n| {
        let args = json!(["alice", "secret", format!("new-{n}")]);
        ("update_password", args)
    });
    let changed: Vec<_> = race(client, changes)
        .iter()
        .map(|reply| reply.ok().as_bool().unwrap())
        .collect();
    let winners: Vec<_> = (0..50).filter(|n| changed[*n]).collect();
    assert_eq!(winners.len(), 1, "winners: {winners:?}");

    let new = (0..50).map(|n| format!("new-{n}"));
    let logins = new.chain(["secret".into()]);
    let logins = logins.map(|password| ("authenticate_user", json!(["alice", password])));
    let logins = race(client, logins.collect::<Vec<_>>());
    for (n, login) in logins.iter().enumerate() {
        assert_eq!(login.ok(), n == winners[0], "password {n}");
    }
}

/// Runs the races of one thread.
struct Racer {
    client: Client,
    /// A session of alice, who is never deleted, so that there is always a user.
    token: String,
    /// Prefix of all names that this thread creates.
    prefix: String,
}

/// How the session of a user ends.
#[derive(Clone, Copy)]
enum End {
    DeleteUser,
    DeleteSession,
}

/// Runs races on several threads, each of which creates and deletes users of its own. A hash takes
/// longer (some ms) than a write, so a creation reads its preconditions before the deletion and
/// reaches the writer after it.
fn race_on_threads(races: usize, end: End) {
    const THREADS: usize = 8;
    let mut setup =
        Setup::with_alice(&[("PASSWORD__THREADS", "4"), ("PASSWORD__MEMORY_KIB", "256")]);
    let token = setup.session_of_alice();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let mut racer = Racer {
                client: setup.redis.client(),
                token: token.clone(),
                prefix: format!("{thread}-"),
            };
            scope.spawn(move || {
                for n in (thread..races).step_by(THREADS) {
                    racer.end_against_creation(n, end);
                }
            });
        }
    });
    // No creation with an error reply took effect.
    let left = names(&mut setup.client);
    match end {
        End::DeleteUser => assert_eq!(left, ["alice"]),
        End::DeleteSession => assert_eq!(left.len(), 1 + races),
    }
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

impl Racer {
    /// Creates a user with a session and returns the token.
    fn create_user(&mut self, name: &str) -> String {
        let args = json!({"username": name, "password": "pw", "session_token": self.token});
        self.client.call("create_user", args).ok();
        let session = self.client.call("create_session", json!([name, "pw"]));
        session.ok()["session_token"].as_str().unwrap().to_owned()
    }

    fn end_against_creation(&mut self, n: usize, end: End) {
        let user = format!("{}user-{n}", self.prefix);
        let victim = self.create_user(&user);
        let by_victim = |name: &str| {
            let args = json!({"username": name, "password": "pw", "session_token": victim});
            ("create_user", args)
        };
        let new = format!("{}new-{n}", self.prefix);
        let ending = match end {
            End::DeleteUser => {
                let args = json!({"username": user, "session_token": self.token});
                ("delete_user", args)
            }
            End::DeleteSession => ("delete_session", json!([victim])),
        };
        let (ended, creation) = if n.is_multiple_of(2) {
            let ids = self.client.send_all([ending, by_victim(&new)]);
            (ids[0].clone(), ids[1].clone())
        } else {
            let ids = self.client.send_all([by_victim(&new), ending]);
            (ids[1].clone(), ids[0].clone())
        };
        assert_eq!(self.client.reply(&ended).ok(), true);

        // From now on, this token must create no user. Deleting the new user shows
        // whether it exists already, and does not affect a creation that is still
        // in flight.
        let delete = json!({"username": new, "session_token": self.token});
        let late = by_victim(&format!("{}late-{n}", self.prefix));
        let after = race(&mut self.client, [("delete_user", delete), late]);
        let existed = after[0].errors().is_empty();
        if !existed {
            after[0].fails(&format!("No such user: {new}"));
        }
        after[1].fails("Invalid credentials and/or session_token");

        let creation = self.client.reply(&creation);
        let created = creation.errors().is_empty();
        if !created {
            creation.fails("Invalid credentials and/or session_token");
        }
        assert_eq!(
            created, existed,
            "race {n}: reply to the creation, and existence after the reply to the end"
        );
    }
}

#[test]
fn a_deleted_user_creates_no_user_after_the_reply() {
    race_on_threads(1_000, End::DeleteUser);
}

#[test]
fn an_ended_session_creates_no_user_after_the_reply() {
    race_on_threads(200, End::DeleteSession);
}

#[test]
fn no_credential_of_a_deleted_user_is_valid_after_the_reply() {
    let mut setup = Setup::with_alice(&[WIDE]);
    let admin = setup.session_of_alice();
    let create = json!({"username": "bob", "password": "pw", "session_token": admin});
    let delete = json!({"username": "bob", "session_token": admin});
    let login = || ("create_session", json!(["bob", "pw"]));
    let look_up = |token: &Value| ("authenticate_session", json!([token]));
    for n in 0..100 {
        let (client, create, delete) = (&mut setup.client, create.clone(), delete.clone());
        client.call("create_user", create.clone()).ok();
        let session = client.call("create_session", json!(["bob", "pw"]));
        let token = session.ok()["session_token"].clone();
        let mut requests = vec![login(), look_up(&token), login(), look_up(&token)];
        requests.insert(n % 5, ("delete_user", delete.clone()));
        let mut ids = client.send_all(requests);
        let deletion = ids.remove(n % 5);
        assert_eq!(client.reply(&deletion).ok(), true);

        let after = race(
            client,
            [
                look_up(&token),
                ("get_user_by_session", json!([token])),
                ("authenticate_user", json!(["bob", "pw"])),
                login(),
            ],
        );
        after[0].fails("Invalid session token");
        after[1].fails("No user associated with the specified session token");
        assert_eq!(after[2].ok(), false);
        after[3].fails("Invalid credentials");

        // Sessions created before the deletion are invalid, too, even after a new user
        // gets the same name.
        let mut dead = vec![token];
        for id in [&ids[0], &ids[2]] {
            let session = client.reply(id);
            if session.errors().is_empty() {
                dead.push(session.ok()["session_token"].clone());
            } else {
                session.fails("Invalid credentials");
            }
        }
        for id in [&ids[1], &ids[3]] {
            let seen = client.reply(id);
            if !seen.errors().is_empty() {
                seen.fails("Invalid session token");
            }
        }
        client.call("create_user", create).ok();
        for reply in race(client, dead.iter().map(look_up)) {
            reply.fails("Invalid session token");
        }
        client.call("delete_user", delete).ok();
    }
}

#[test]
fn a_look_up_overtakes_waiting_logins() {
    let mut setup = Setup::with_alice(&[]);
    let token = setup.session_of_alice();
    assert!(setup.daemon.stop().success());
    // With these settings, a login takes hours.
    let endless = [
        ("PASSWORD__THREADS", "1"),
        ("PASSWORD__MEMORY_KIB", "65536"),
        ("PASSWORD__ITERATIONS", "1000000"),
    ];
    let daemon = Daemon::start_in(setup.daemon.folder(), &setup.redis, &endless);
    let client = &mut setup.client;
    let login = ("authenticate_user", json!(["nobody", "secret"]));
    let logins = client.send_all(vec![login; 30]);
    let look_up = client.call("authenticate_session", json!([token]));
    assert_eq!(look_up.ok()["username"], "alice");
    client.call("get_users", json!({})).ok();
    let ended = client.call("delete_session", json!([token]));
    assert_eq!(ended.ok(), true);
    assert!(client.answered(logins.iter().map(|id| &**id)).is_empty());
    drop(daemon);
}

#[test]
fn requests_beyond_max_in_flight_are_all_answered() {
    let mut setup = Setup::with_alice(&[("MAX_IN_FLIGHT", "10")]);
    let token = setup.session_of_alice();
    let requests = (0..200).map(|n| match n % 3 {
        0 => ("authenticate_session", json!([token])),
        1 => ("authenticate_user", json!(["alice", "secret"])),
        _ => ("get_users", json!({})),
    });
    let requests: Vec<_> = requests.collect();
    for reply in race(&mut setup.client, requests) {
        reply.ok();
    }
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}
