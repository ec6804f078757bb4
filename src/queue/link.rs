//! The queue's connections to Redis: one after the other, each with its scripts and rights checked.

use std::time::Duration;

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::scripts::Loaded;
use super::{Keys, rights};
use crate::redis::{ANSWER_TIMEOUT, Connector};

/// How long connecting may take: short, so that a Redis that is back is found
/// soon…
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// …but now and then as long as a slow machine may need.
const PATIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Every how many tries.
const PATIENT_EVERY: u32 = 4;
/// One connection after the other, of which never two are at work.
///
/// A connection that gave an error may still be alive on the other side, with
/// a command of ours on its way. Before the next one is used, the old one is
/// ended there.
pub(super) struct Link {
    connector: Connector,
    keys: Keys,
    /// What its connections have loaded.
    pub(super) scripts: Loaded,
    blocks: Duration,
    last: Option<Identity>,
    warned: bool,
    /// Tries since the last success.
    tries: u32,
}

/// A connection as Redis knows it. A Redis that starts anew numbers its
/// clients anew; its `run_id` tells.
#[derive(PartialEq, Eq)]
struct Identity {
    run_id: String,
    client: i64,
}

impl Link {
    pub(super) fn new(connector: Connector, keys: Keys, blocks: Duration) -> Self {
        Self {
            connector,
            keys,
            scripts: Loaded::new(),
            blocks,
            last: None,
            warned: false,
            tries: 0,
        }
    }

    /// What an error of this link means.
    pub(super) fn explain(&self, error: &RedisError) -> String {
        if rights::is_named(error) {
            return error.to_string();
        }
        self.connector.explain(error)
    }

    /// A new connection, after the end of the one before.
    pub(super) async fn connect(&mut self) -> Result<MultiplexedConnection, RedisError> {
        self.tries += 1;
        let timeout = if self.tries.is_multiple_of(PATIENT_EVERY) {
            PATIENT_CONNECT_TIMEOUT
        } else {
            CONNECT_TIMEOUT
        };
        let mut connection = self.connector.connect(timeout, timeout).await?;
        let identity = identify(&mut connection).await?;
        if let Some(last) = &self.last
            && last.run_id == identity.run_id
        {
            let ended: Result<i64, _> = redis::cmd("CLIENT")
                .arg(&["KILL", "ID", &last.client.to_string()])
                .query_async(&mut connection)
                .await;
            match ended {
                Ok(_) => {}
                Err(error) if error.code() == Some("NOPERM") => self.warn(&error),
                Err(error) => return Err(error),
            }
        }
        self.last = Some(identity);
        self.scripts.load(&mut connection).await?;
        rights::check(&mut connection, &self.keys).await?;
        self.tries = 0;
        connection.set_response_timeout(self.blocks + ANSWER_TIMEOUT);
        Ok(connection)
    }

    fn warn(&mut self, error: &RedisError) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                %error,
                "Redis does not let us end our own old connections: after a connection that hangs, \
                 a request could wait for the next start. Give this user +client|kill"
            );
        }
    }
}

async fn identify(connection: &mut MultiplexedConnection) -> Result<Identity, RedisError> {
    let (client, info): (i64, String) = redis::pipe()
        .cmd("CLIENT")
        .arg("ID")
        .cmd("INFO")
        .arg("server")
        .query_async(connection)
        .await?;
    let run_id = info
        .lines()
        .find_map(|line| line.strip_prefix("run_id:"))
        .unwrap_or_default();
    Ok(Identity {
        run_id: run_id.to_owned(),
        client,
    })
}
