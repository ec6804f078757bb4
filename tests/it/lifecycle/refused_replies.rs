//! Replies that Redis will never take: they become dead letters, and keep no
//! other reply.

use std::path::Path;
use std::sync::Arc;

use chrono::DateTime;
use futures_util::future::join_all;
use platypush_userd::model::{PasswordRecord, TokenHash};
use platypush_userd::store::{NewSession, NewUser, PasswordPrecondition, Precondition, Store};
use redis::Commands as _;
use serde_json::json;

use crate::support::{Client, Daemon, QUEUE, RedisServer, make_workdir, open_store};

/// Asserts that the request was settled with a dead letter that names it.
#[track_caller]
fn assert_undeliverable(client: &mut Client, id: &str) {
    let letters = client.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["id"], id);
    let reason = letters[0]["reason"].as_str().unwrap();
    assert!(reason.contains("could not be delivered"), "{reason}");
}

/// One reply that Redis answers with a protocol error, and by closing the
/// connection, was sent again for ever, and nobody else got a reply.
#[test]
fn a_reply_too_long_for_redis_keeps_no_other() {
    let redis = RedisServer::with(&["--save", "", "--proto-max-bulk-len", "1mb"]);
    let folder = Arc::new(tempfile::tempdir().unwrap());
    make_long_list_of_users(&folder.path().join("workdir"));

    let mut daemon = Daemon::start_in(folder, &redis, &[]);
    let mut client = redis.client();
    let long = client.send("get_users", json!({}));
    let reply = client.call("authenticate_session", json!(["x"]));
    reply.fails("Invalid session token");
    assert!(daemon.stop().success());
    assert_undeliverable(&mut client, &long);
    client.assert_nothing_left();
}

/// More than a megabyte of it.
pub fn make_long_list_of_users(workdir: &Path) {
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

/// A daemon whose rights cover only some reply lists: the clients choose the
/// ids.
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
fn a_reply_to_a_list_that_is_not_ours_keeps_no_other() {
    let (_redis, mut daemon, mut client) = with_narrow_rights();
    // In one batch with others that have a right to their reply.
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

/// After an unclean end, nothing else was taken until the reply of the one
/// message that was worked on could be sent, which was never.
#[test]
fn a_suspect_whose_reply_is_refused_keeps_no_other() {
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
