//! An import is all or nothing, wherever it is interrupted.

use std::fs;
use std::path::Path;

use platypush_userd::store::Store as _;
use serde_json::json;

use crate::admin::{command, run_with};
use crate::store_changes::Changes as _;
use crate::store_conformance::bench::wait;
use crate::support::{Daemon, Setup, make_workdir, open_store, wait_until_closed};

const USERS: u64 = 600;
const SESSIONS: u64 = 300;

/// Creates an export so large that its import takes several commits. Returns the folder and the
/// paths of the export and its keys.
fn export() -> (tempfile::TempDir, String, String) {
    let mut setup = Setup::with_alice(&[]);
    let session = setup.session_of_alice();
    let mut calls: Vec<_> = (1..USERS)
        .map(|number| {
            let args = json!({"username": format!("user-{number}"), "password": "secret",
                "session_token": session});
            setup.client.send("create_user", args)
        })
        .collect();
    let log_in = || json!(["alice", "secret"]);
    calls.extend((1..SESSIONS).map(|_| setup.client.send("create_session", log_in())));
    for id in &calls {
        setup.client.reply(id).ok();
    }
    let workdir = setup.daemon.workdir();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export.jsonl");
    fs::write(&file, command(&workdir, &["export"], "").ok()).unwrap();
    let keys = folder.path().join("keys");
    fs::copy(workdir.join("secret.keys"), &keys).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (file, keys) = (text(&file), text(&keys));
    (folder, file, keys)
}

#[test]
fn a_crash_leaves_no_part_of_an_import() {
    let (_folder, file, keys) = export();
    let import = ["import", "jsonl", &file, "--keys", &keys];
    let target = tempfile::tempdir().unwrap();
    let workdir = target.path().join("workdir");
    make_workdir(&workdir);
    // Creates an empty database and its keys.
    command(&workdir, &["admin", "users"], "").ok();
    let mut crashes = 0;
    for point in ["before commit", "after commit", "after flush"] {
        for number in 1.. {
            wait_until_closed(&workdir);
            let crash = format!("{point}:{number}");
            let program = std::process::Command::new(Daemon::binary());
            let variables = [("USERD_CRASH_AT", &*crash)];
            let done = run_with(program, &workdir, &import, "", &variables);
            if done.status == 0 {
                // The import has fewer commits than that: it is complete.
                assert!(done.out.contains("Imported 600 of 600 users."), "{done:?}");
                assert!(number > 4, "{crash}");
                break;
            }
            crashes += 1;
            assert_eq!(done.status, -1, "{crash}: {done:?}");
            wait_until_closed(&workdir);
            let store = open_store(&workdir).unwrap();
            let found = wait(async {
                let users = store.users().await.unwrap().len() as u64;
                let from = platypush_userd::model::TokenHash([0; 32]);
                let sessions = store.sessions_from(from, 10_000).await.unwrap();
                let next = store.next_ids().await.unwrap().user;
                (
                    users,
                    sessions.items.len() as u64,
                    next,
                    store.has_users().await.unwrap(),
                )
            });
            let none = (0, 0, 1, false);
            let all = (USERS, SESSIONS, USERS + 1, true);
            assert!([none, all].contains(&found), "{crash}: {found:?}");
            drop(store);
            if found == all {
                break;
            }
        }
        fs::remove_dir_all(&workdir).unwrap();
        make_workdir(&workdir);
        command(&workdir, &["admin", "users"], "").ok();
    }
    assert!(crashes > 12, "{crashes}");
}

/// On a full disk, the store stays as it was.
#[test]
fn a_full_disk_leaves_no_part_of_an_import() {
    let (_folder, file, keys) = export();
    let target = tempfile::tempdir().unwrap();
    let workdir = target.path().join("workdir");
    make_workdir(&workdir);
    command(&workdir, &["admin", "users"], "").ok();
    wait_until_closed(&workdir);
    let people = {
        let keyring = platypush_userd::keyring::Keyring::open(keys.into(), false).unwrap();
        let lines = std::io::BufReader::new(fs::File::open(&file).unwrap());
        platypush_userd::transfer::jsonl::read(lines, &keyring)
            .unwrap()
            .users
    };
    let users: Vec<_> = people.into_iter().map(|person| person.user).collect();
    let bounds = platypush_userd::store::sled::Bounds {
        // More than any disk has.
        reserved_mib: 1 << 40,
        ..Default::default()
    };
    let store = platypush_userd::store::sled::SledStore::open_bounded(&workdir, bounds).unwrap();
    wait(async {
        let before = store.next_ids().await.unwrap();
        let mut after = before;
        after.user += users.len() as u64;
        let batch = platypush_userd::store::ImportBatch {
            before,
            after,
            users,
            sessions: Vec::new(),
            hash_key: None,
            progress: std::sync::Arc::default(),
        };
        let refused = store.import(batch).await.unwrap_err();
        assert!(refused.to_string().contains("is full"), "{refused}");
        assert_eq!(store.users().await.unwrap(), []);
        assert_eq!(store.next_ids().await.unwrap(), before);
    });
}
