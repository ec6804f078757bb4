//! Removes what is dead, little by little, for as long as the daemon runs: dead
//! sessions, and expired API tokens while any imported one is left, which costs
//! every wrong token a hash. Nothing of it authenticates anybody before that
//! either: this is about room and work alone.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use crate::clock::Clock;
use crate::model::SessionLimits;
use crate::store::{Result, Store};

/// Sessions or users looked at in one step.
const STEP: usize = 256;
/// Pause between two steps: sweeping must not be felt.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause between two passes over everything.
const REST: Duration = Duration::from_secs(60);

/// Sweeps without an end.
pub async fn sweep(store: Arc<dyn Store>, clock: Arc<dyn Clock>, limits: SessionLimits) {
    loop {
        if let Err(error) = sweep_sessions(&*store, &*clock, limits).await {
            warn!(%error, "sweeping dead sessions failed");
        }
        if let Err(error) = sweep_api_tokens(&*store, &*clock).await {
            warn!(%error, "sweeping expired API tokens failed");
        }
        tokio::time::sleep(REST).await;
    }
}

async fn sweep_sessions(store: &dyn Store, clock: &dyn Clock, limits: SessionLimits) -> Result<()> {
    let mut after = None;
    loop {
        let step = store
            .sweep_sessions(after, STEP, limits.at(clock.now()))
            .await?;
        if step.removed > 0 {
            debug!(removed = step.removed, "swept dead sessions");
        }
        if step.next.is_none() {
            return Ok(());
        }
        after = step.next;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn sweep_api_tokens(store: &dyn Store, clock: &dyn Clock) -> Result<()> {
    if !store.has_imported_tokens().await? {
        return Ok(());
    }
    let mut from = 0;
    loop {
        let now = clock.now();
        let page = store.users_from(from, STEP).await?;
        for user in page.items {
            if user.api_tokens.iter().any(|token| token.is_expired(now)) {
                store.drop_expired_tokens(user.id, now);
            }
        }
        let Some(next) = page.next else {
            return Ok(());
        };
        from = next;
        tokio::time::sleep(PAUSE).await;
    }
}
