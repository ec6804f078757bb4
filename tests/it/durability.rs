//! The effect of a mutation is on disk before its reply is sent. The order of the system calls
//! proves it: sled's data file was written, then an `fdatasync` of it began and returned 0, then
//! the reply was sent.

use std::process::ExitStatus;
use std::sync::Arc;

use redis::Commands as _;
use serde_json::{Value, json};

use crate::support::strace::{Call, Trace};
use crate::support::{Client, Daemon, REPLIES, RedisServer};

/// All system calls that can write to a file or a socket, or sync a file.
const CALLS: &str = "write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg,\
                     fsync,fdatasync,sync_file_range,io_uring_enter";
/// sled's data file.
const DATA_FILE: &str = "/workdir/db/db";
/// Contains the number of the last commit.
const COMMIT_FILE: &str = "/workdir/commit";

/// A daemon that is traced, and a client of it.
struct Traced {
    daemon: Daemon,
    client: Client,
    trace: Trace,
    redis: RedisServer,
}

/// The traced system calls, in order.
struct Calls(Vec<Call>);

impl Traced {
    fn start(settings: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start();
        let mut trace = None;
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let daemon = Daemon::launch(folder, &redis, settings, |command| {
            let (strace, reader) = Trace::start(&command, CALLS);
            trace = Some(reader);
            strace
        });
        daemon.wait_for_log("ready");
        Self {
            daemon,
            client: redis.client(),
            trace: trace.unwrap(),
            redis,
        }
    }

    /// Runs an action that succeeds. Returns the id of the request and the output.
    fn run(&mut self, action: &str, args: Value) -> (String, Value) {
        let id = self.client.send(action, args);
        let output = self.client.reply(&id).ok().clone();
        (id, output)
    }

    fn stop(mut self) -> (ExitStatus, Calls) {
        let status = self.daemon.stop();
        drop(self.redis);
        (status, Calls(self.trace.finish()))
    }
}

impl Calls {
    /// Write calls on sled's data file.
    fn writes(&self) -> impl DoubleEndedIterator<Item = &Call> {
        let calls = self.0.iter();
        calls.filter(|call| call.name.starts_with("pwrite") && call.file.ends_with(DATA_FILE))
    }

    /// Successful `fdatasync` calls on sled's data file.
    fn syncs(&self) -> impl Iterator<Item = &Call> {
        let calls = self.0.iter();
        calls.filter(|call| {
            call.name == "fdatasync" && call.file.ends_with(DATA_FILE) && call.result == Some(0)
        })
    }

    /// Returns the call that sent the reply to a request.
    #[track_caller]
    fn reply(&self, id: &str) -> &Call {
        let list = format!("{REPLIES}{id}\r\n");
        let mut sends = self.0.iter().filter(|call| contains(&call.data, &list));
        let send = sends.next().unwrap_or_else(|| panic!("no reply to {id}"));
        assert!(sends.next().is_none(), "two replies to {id}");
        send
    }

    /// Asserts that a write was on the disk when the reply was sent.
    #[track_caller]
    fn assert_on_disk_before(&self, write: &Call, reply: &Call, what: &str) {
        assert!(write.ended < reply.began, "{what}: replied before written");
        assert!(
            self.syncs()
                .any(|sync| write.ended < sync.began && sync.ended < reply.began),
            "{what}: written at {}, replied at {}, no fdatasync in between; there are {:?}",
            write.ended,
            reply.began,
            self.syncs()
                .map(|sync| (sync.began, sync.ended))
                .collect::<Vec<_>>(),
        );
    }
}

fn contains(data: &[u8], text: &str) -> bool {
    data.windows(text.len()).any(|w| w == text.as_bytes())
}

#[test]
fn each_mutation_is_on_disk_before_its_reply_is_sent() {
    let mut traced = Traced::start(&[]);
    traced.run("create_user", json!(["alice", "secret"]));
    let (login, session) = traced.run("create_session", json!(["alice", "secret"]));
    let token = session["session_token"].clone();
    let alice = json!({"username": "alice", "password": "secret"});
    let mutations = [
        (
            "create_user",
            json!({"username": "bob", "password": "secret", "session_token": token}),
        ),
        ("create_session", alice),
        (
            "update_password",
            json!({"username": "bob", "old_password": "secret", "new_password": "other"}),
        ),
        (
            "delete_user",
            json!({"username": "bob", "session_token": token}),
        ),
        ("delete_session", json!([token])),
    ];
    let done: Vec<_> = mutations
        .into_iter()
        .map(|(action, args)| (action, traced.run(action, args).0))
        .collect();
    let (status, calls) = traced.stop();
    assert!(status.success());

    // The mutations run one after the other, so a write between two replies belongs to the
    // second one.
    let mut earlier = calls.reply(&login).began;
    for (action, id) in &done {
        let reply = calls.reply(id);
        let last = calls
            .writes()
            .rfind(|write| write.began < reply.began)
            .unwrap();
        assert!(last.began > earlier, "{action} wrote nothing");
        calls.assert_on_disk_before(last, reply, action);
        earlier = reply.began;
    }
}

#[test]
fn concurrent_mutations_are_on_disk_before_their_replies_are_sent() {
    const USERS: usize = 64;
    let mut traced = Traced::start(&[("PASSWORD__THREADS", "64")]);
    traced.run("create_user", json!(["alice", "secret"]));
    let (_, session) = traced.run("create_session", json!(["alice", "secret"]));
    let token = &session["session_token"];
    let names: Vec<_> = (0..USERS).map(|n| format!("unique-name-{n:02}-")).collect();
    let ids = traced.client.send_all(names.iter().map(|name| {
        let args = json!({"username": name, "password": "secret", "session_token": token});
        ("create_user", args)
    }));
    for id in &ids {
        traced.client.reply(id).ok();
    }
    let (status, calls) = traced.stop();
    assert!(status.success());

    for (id, name) in ids.iter().zip(&names) {
        // sled may write the name again when it rearranges its pages. The first write is that of
        // the transaction.
        let write = calls
            .writes()
            .find(|write| contains(&write.data, name))
            .unwrap_or_else(|| panic!("{name} was not written"));
        calls.assert_on_disk_before(write, calls.reply(id), name);
    }
}

#[test]
fn concurrent_mutations_share_a_sync() {
    const SESSIONS: usize = 64;
    let mut traced = Traced::start(&[]);
    traced.run("create_user", json!(["alice", "secret"]));
    let login = ("create_session", json!(["alice", "secret"]));
    let logins = traced.client.send_all(vec![login; SESSIONS]);
    let tokens: Vec<_> = logins
        .iter()
        .map(|id| traced.client.reply(id).ok()["session_token"].clone())
        .collect();
    // Deleting a session costs no hash, so all of these requests reach the writer at once.
    let deletions = tokens
        .iter()
        .map(|token| ("delete_session", json!([token])));
    let deletions = traced.client.send_all(deletions);
    for id in &deletions {
        assert_eq!(traced.client.reply(id).ok(), &Value::Bool(true));
    }
    let left: usize = traced.client.redis.llen(crate::support::QUEUE).unwrap();
    assert_eq!(left, 0);
    let (status, calls) = traced.stop();
    assert!(status.success());

    let from = logins.iter().map(|id| calls.reply(id).began).max().unwrap();
    let syncs = calls.syncs().filter(|sync| sync.began > from).count();
    assert!(
        (1..SESSIONS).contains(&syncs),
        "{syncs} syncs for {SESSIONS} mutations"
    );

    // The number of the commit is written once per group, after the sync.
    let steps = calls.0.iter().filter_map(|call| match &*call.name {
        "fdatasync" if call.file.ends_with(DATA_FILE) => Some("sync"),
        "pwrite64" if call.file.ends_with(COMMIT_FILE) => Some("number"),
        _ => None,
    });
    let steps: Vec<_> = steps.skip_while(|step| *step == "number").collect();
    for group in steps.chunks(2) {
        assert_eq!(group, ["sync", "number"], "{steps:?}");
    }
}
