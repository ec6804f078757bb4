//! An action that panics gives an error reply, and the daemon lives.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use platypush_userd::actions::{Action, Call, Cost, FromArguments, Output, Parameter, Run, Values};
use platypush_userd::clock::SystemClock;
use platypush_userd::dispatch::{Dispatcher, Parts, Policy, Turns};
use platypush_userd::error::Error;
use platypush_userd::keyring::Keyring;
use platypush_userd::model::DeliveryId;
use platypush_userd::queue::{CrashJournal, DeliveryContext, Disposition, Handler as _};
use platypush_userd::services::{Limits, Services};
use platypush_userd::store::Store;
use platypush_userd::store::sled::SledStore;
use platypush_userd::wire::request::MessageLimits;
use serde_json::{Value, json};

use crate::support::credentials;

const fn stub<T: FromArguments + Run>(name: &'static str) -> Action {
    Action::new::<T>(name, "", "")
}

static TABLE: [Action; 4] = [
    stub::<Stub<true, false>>("panics"),
    stub::<Stub<true, true>>("panics_in_its_turn"),
    stub::<Stub<false, true>>("works_in_its_turn"),
    stub::<PanicsBefore>("panics_before"),
];

/// Panics in the middle of its work, or not; waits for a turn, or not.
struct Stub<const PANICS: bool, const WAITS: bool>;

impl<const PANICS: bool, const WAITS: bool> FromArguments for Stub<PANICS, WAITS> {
    const PARAMETERS: &'static [Parameter] = &[];

    fn from_values(_: &mut Values<'_>, _: &Limits) -> Result<Self, Error> {
        Ok(Self)
    }
}

#[async_trait]
impl<const PANICS: bool, const WAITS: bool> Run for Stub<PANICS, WAITS> {
    fn cost(&self) -> Cost {
        if WAITS { Cost::Hash } else { Cost::Light }
    }

    async fn run(self: Box<Self>, services: &Services, _: &Call) -> Result<Output, Error> {
        services.store.has_users().await?;
        assert!(!PANICS, "it was to panic");
        Ok(Output::Flag(true))
    }
}

/// Panics once when its arguments are bound.
struct PanicsBefore;

impl FromArguments for PanicsBefore {
    const PARAMETERS: &'static [Parameter] = &[];

    fn from_values(_: &mut Values<'_>, _: &Limits) -> Result<Self, Error> {
        static BOUND: AtomicU32 = AtomicU32::new(0);
        assert!(
            BOUND.fetch_add(1, Ordering::Relaxed) != 0,
            "it was to panic"
        );
        Ok(Self)
    }
}

#[async_trait]
impl Run for PanicsBefore {
    fn cost(&self) -> Cost {
        Cost::Light
    }

    async fn run(self: Box<Self>, _: &Services, _: &Call) -> Result<Output, Error> {
        Ok(Output::Flag(true))
    }
}

/// A dispatcher of these actions, with one turn.
async fn dispatcher(folder: &Path) -> Arc<Dispatcher> {
    let store: Arc<dyn Store> = Arc::new(SledStore::open(folder).unwrap());
    let clock = Arc::new(SystemClock);
    let credentials = credentials(folder, Arc::clone(&store), clock.clone()).await;
    let services = Services {
        store,
        credentials,
        clock,
        issuer: "platypush@test-node".into(),
        revoke_on_password_change: false,
        limits: Limits {
            blocklist: None,
            max_username_length: 255,
            min_password_length: 1,
            max_password_length: 4096,
        },
    };
    let policy = Policy {
        device_id: "test-node".into(),
        accept_any_target: true,
        token_hash: None,
        max_request_age: None,
        limits: MessageLimits {
            max_message_size: 1 << 20,
            max_id_length: 256,
        },
    };
    let (running, _) = CrashJournal::open(&folder.join("running"), Turns::count(1)).unwrap();
    let parts = Parts {
        actions: &TABLE,
        services: Arc::new(services),
        policy,
        turns: Turns::new(1, Duration::from_secs(4), running),
        keyring: Arc::new(Keyring::open(Keyring::default_path(folder), true).unwrap()),
        events: None,
        unread: None,
    };
    Arc::new(Dispatcher::new(parts).await.unwrap())
}

/// Runs an action; gives the response.
async fn response(dispatcher: &Arc<Dispatcher>, action: &str) -> Value {
    let request = json!({"type": "request", "action": format!("user.{action}"), "id": "x"});
    let delivery = DeliveryId {
        boot: [0; 16],
        batch: 0,
        position: 0,
    };
    let mut context = DeliveryContext::new(delivery, false);
    let disposition = Arc::clone(dispatcher)
        .handle(&mut context, request.to_string().into_bytes())
        .await;
    let Disposition::Finished(finished) = disposition else {
        panic!("{disposition:?}");
    };
    let reply = finished.reply.expect("a reply");
    assert_eq!(reply.id, "x");
    let reply: Value = serde_json::from_slice(&reply.bytes).unwrap();
    reply["response"].clone()
}

#[tokio::test]
async fn an_action_that_panics_gives_an_error_reply() {
    let folder = tempfile::tempdir().unwrap();
    let dispatcher = dispatcher(folder.path()).await;
    let text = "Internal error: the log of platypush-userd tells more about request x";
    let error = json!({"output": {"success": false}, "errors": [text]});
    let fine = json!({"output": true, "errors": []});

    assert_eq!(response(&dispatcher, "panics").await, error);
    assert_eq!(response(&dispatcher, "panics_before").await, error);
    assert_eq!(response(&dispatcher, "panics_in_its_turn").await, error);
    // There is only one turn, and it was given back.
    assert_eq!(response(&dispatcher, "works_in_its_turn").await, fine);
}
