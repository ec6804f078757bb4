//! Removes dead sessions in small steps while the daemon runs. While any imported API token exists,
//! it removes expired API tokens too, because until then every wrong token costs a hash.
//!
//! This only saves space and work: a dead session or token is invalid before its removal as well.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use crate::clock::Clock;
use crate::model::SessionLimits;
use crate::store::{Result, Store, StoreExt as _, operations};

/// Number of sessions or users that one step examines.
const STEP: usize = 256;
/// Pause between two steps, so that sweeping does not delay requests.
const STEP_PAUSE: Duration = Duration::from_secs(1);
/// Pause between two passes over all sessions and users.
const PASS_PAUSE: Duration = Duration::from_secs(60);

/// Sweeps forever.
pub async fn sweep(store: Arc<dyn Store>, clock: Arc<dyn Clock>, limits: SessionLimits) {
    loop {
        if let Err(error) = sweep_sessions(&*store, &*clock, limits).await {
            warn!(%error, "sweeping dead sessions failed");
        }
        if let Err(error) = sweep_api_tokens(&*store, &*clock).await {
            warn!(%error, "sweeping expired API tokens failed");
        }
        tokio::time::sleep(PASS_PAUSE).await;
    }
}

async fn sweep_sessions(store: &dyn Store, clock: &dyn Clock, limits: SessionLimits) -> Result<()> {
    let mut after = None;
    loop {
        let rules = limits.at(clock.now());
        let (tokens, next) = store.dead_sessions(after, STEP, rules).await?;
        if !tokens.is_empty() {
            let remove = operations::RemoveDeadSessions { tokens, rules };
            let removed = store.run(remove, None).await?;
            if removed > 0 {
                debug!(removed, "swept dead sessions");
            }
        }
        if next.is_none() {
            return Ok(());
        }
        after = next;
        tokio::time::sleep(STEP_PAUSE).await;
    }
}

async fn sweep_api_tokens(store: &dyn Store, clock: &dyn Clock) -> Result<()> {
    if store.counters().await?.imported_tokens == 0 {
        return Ok(());
    }
    let mut from = 0;
    loop {
        let now = clock.now();
        let page = store.users_from(from, STEP).await?;
        for user in page.items {
            if user.api_tokens.iter().any(|token| token.is_expired(now)) {
                store.post(operations::DropExpiredTokens {
                    user_id: user.id,
                    now,
                });
            }
        }
        let Some(next) = page.next else {
            return Ok(());
        };
        from = next;
        tokio::time::sleep(STEP_PAUSE).await;
    }
}
