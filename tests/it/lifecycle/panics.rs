//! An action that panics gets an error reply, and the daemon continues.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use platypush_userd::actions::{Action, Call, Cost, FromArguments, Output, Parameter, Run, Values};
use platypush_userd::clock::SystemClock;
use platypush_userd::dispatch::{Dispatcher, Policy, Turns};
use platypush_userd::error::Error;
use platypush_userd::keyring::Keyring;
use platypush_userd::model::DeliveryId;
use platypush_userd::queue::{CrashJournal, Delivery, Disposition, Handler as _};
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

/// An action that panics while it runs if `PANICS`, and waits for a turn if `WAITS`.
struct Stub<const PANICS: bool, const WAITS: bool>;

impl<const PANICS: bool, const WAITS: bool> FromArguments for Stub<PANICS, WAITS> {
    const PARAMETERS: &'static [Parameter] = &[];

    fn from_values(_: &mut Values<'_>, _: &Limits) -> Result<Self, Error> {
        Ok(Self)
    }
}

#[async_trait]
impl<const PANICS: bool, const WAITS: bool> Run for Stub<PANICS, WAITS> {
    fn turn(&self) -> (Cost, &str) {
        (if WAITS { Cost::Hash } else { Cost::Light }, "")
    }

    async fn run(self: Box<Self>, services: &Services, _: &Call) -> Result<Output, Error> {
        services.store.counters().await?;
        assert!(!PANICS, "deliberate panic");
        Ok(Output::Flag(true))
    }
}

/// An action that panics the first time its arguments are bound.
struct PanicsBefore;

impl FromArguments for PanicsBefore {
    const PARAMETERS: &'static [Parameter] = &[];

    fn from_values(_: &mut Values<'_>, _: &Limits) -> Result<Self, Error> {
        static BOUND: AtomicU32 = AtomicU32::new(0);
        assert!(
            BOUND.fetch_add(1, Ordering::Relaxed) != 0,
            "deliberate panic"
        );
        Ok(Self)
    }
}

#[async_trait]
impl Run for PanicsBefore {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Light, "")
    }

    async fn run(self: Box<Self>, _: &Services, _: &Call) -> Result<Output, Error> {
        Ok(Output::Flag(true))
    }
}

/// Returns a dispatcher of these actions, with one turn.
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
    let (journal, _) = CrashJournal::open(&folder.join("running"), Turns::count(1)).unwrap();
    let dispatcher = Dispatcher::new(
        &TABLE,
        Arc::new(services),
        policy,
        Turns::new(1, Duration::from_secs(4), journal),
        Arc::new(Keyring::open(Keyring::default_path(folder), true).unwrap()),
        None,
        None,
    );
    Arc::new(dispatcher.await.unwrap())
}

/// Runs an action and returns the response.
async fn response(dispatcher: &Arc<Dispatcher>, action: &str) -> Value {
    let request = json!({"type": "request", "action": format!("user.{action}"), "id": "x"});
    let id = DeliveryId {
        run_id: [0; 16],
        batch: 0,
        position: 0,
    };
    let mut delivery = Delivery::new(id, false);
    let disposition = Arc::clone(dispatcher)
        .handle(&mut delivery, request.to_string().into_bytes())
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
async fn an_action_that_panics_gets_an_error_reply() {
    let folder = tempfile::tempdir().unwrap();
    let dispatcher = dispatcher(folder.path()).await;
    let text = "Internal error: the log of platypush-userd tells more about request x";
    let error = json!({"output": {"success": false}, "errors": [text]});
    let success = json!({"output": true, "errors": []});

    assert_eq!(response(&dispatcher, "panics").await, error);
    assert_eq!(response(&dispatcher, "panics_before").await, error);
    assert_eq!(response(&dispatcher, "panics_in_its_turn").await, error);
    // There is only one turn, and the panic released it.
    assert_eq!(response(&dispatcher, "works_in_its_turn").await, success);
}
