//! Replies that Redis always refuses: they become dead letters and delay no other reply.

use std::path::Path;
use std::sync::Arc;

use chrono::DateTime;
use futures_util::future::join_all;
use platypush_userd::model::{PasswordRecord, TokenHash};
use platypush_userd::store::{PasswordPrecondition, Precondition};
use redis::Commands as _;
use serde_json::json;

use crate::store_changes::{Changes as _, NewSession, NewUser};
use crate::support::{Client, Daemon, QUEUE, RedisServer, make_workdir, open_store};

/// Asserts that the request was acknowledged with a dead letter that names it.
#[track_caller]
fn assert_undeliverable(client: &mut Client, id: &str) {
    let letters = client.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["id"], id);
    let reason = letters[0]["reason"].as_str().unwrap();
    assert!(reason.contains("could not be delivered"), "{reason}");
}

/// Regression: a reply to which Redis returns a protocol error and closes the connection was resent
/// for ever, and no client got a reply.
#[test]
fn a_reply_too_long_for_redis_delays_no_other() {
    let redis = RedisServer::with(&["--save", "", "--proto-max-bulk-len", "1mb"]);
    let folder = Arc::new(tempfile::tempdir().unwrap());
    create_many_users(&folder.path().join("workdir"));

    let mut daemon = Daemon::start_in(folder, &redis, &[]);
    let mut client = redis.client();
    let long = client.send("get_users", json!({}));
    let reply = client.call("authenticate_session", json!(["x"]));
    reply.fails("Invalid session token");
    assert!(daemon.stop().success());
    assert_undeliverable(&mut client, &long);
    client.assert_nothing_left();
}

/// Creates 4,000 users with long names: a list of them takes more than a megabyte.
pub fn create_many_users(workdir: &Path) {
    make_workdir(workdir);
    let store = open_store(workdir).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let create = |number: usize, precondition| {
            let user = NewUser {
                username: format!("{number:0>250}"),
                created_at: DateTime::UNIX_EPOCH,
                password: PasswordRecord::new(String::new()),
            };
            store.create_user(user, precondition, None)
        };
        let first = create(0, Precondition::NoUsers).await.unwrap();
        let session = NewSession {
            token: TokenHash([7; 32]),
            created_at: DateTime::UNIX_EPOCH,
            expires_at: None,
        };
        let precondition = PasswordPrecondition {
            user_id: first.id,
            record: first.password,
            generation: first.generation,
            code: None,
        };
        store
            .create_session(session, precondition, None)
            .await
            .unwrap();
        let others =
            (1..4_000).map(|number| create(number, Precondition::Session(TokenHash([7; 32]))));
        for made in join_all(others).await {
            made.unwrap();
        }
    });
}

/// Starts a daemon with rights to some reply lists only. Clients choose the ids, and so the names
/// of the lists.
fn with_narrow_rights() -> (RedisServer, Daemon, Client) {
    let redis = RedisServer::start();
    let mut client = redis.client();
    let _: () = redis::cmd("ACL")
        .arg(&["SETUSER", "narrow", "on", "nopass", "+@all", "resetkeys"])
        .arg(&[
            "~platypush/user",
            "~platypush/user:*",
            "~platypush/responses/r*",
        ])
        .query(&mut client.redis)
        .unwrap();
    let url = format!("{}?user=narrow&pass=x", redis.url());
    let daemon = Daemon::start(&redis, &[("REDIS__URL", &url)]);
    (redis, daemon, client)
}

#[test]
fn a_reply_to_a_forbidden_list_delays_no_other() {
    let (_redis, mut daemon, mut client) = with_narrow_rights();
    // In one batch with requests whose reply lists are permitted.
    let messages = ["r-before", "elsewhere", "r-after"].map(|id| {
        json!({"action": "user.authenticate_session", "id": id, "args": ["x"]}).to_string()
    });
    let _: () = client.redis.rpush(QUEUE, &messages).unwrap();
    for id in ["r-before", "r-after"] {
        client.reply(id).fails("Invalid session token");
    }
    assert!(daemon.stop().success());
    assert_undeliverable(&mut client, "elsewhere");
    client.assert_nothing_left();
}

/// Regression: after an unclean end, no request was fetched until the reply of the one suspect
/// could be sent, which never happened.
#[test]
fn a_suspect_with_a_refused_reply_delays_no_other() {
    let (_redis, mut daemon, mut client) = with_narrow_rights();
    let message =
        |id| json!({"action": "user.authenticate_session", "id": id, "args": ["x"]}).to_string();
    let _: () = client.redis.rpush(QUEUE, message("elsewhere")).unwrap();
    daemon.wait_for_log("~platypush/responses/*");
    daemon.kill();
    daemon.restart();
    let _: () = client.redis.rpush(QUEUE, message("r-after")).unwrap();
    client.reply("r-after").fails("Invalid session token");
    assert!(daemon.stop().success());
    assert_undeliverable(&mut client, "elsewhere");
    client.assert_nothing_left();
}
