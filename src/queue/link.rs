//! The queue's connections to Redis: one after the other, each with its scripts loaded and its
//! permissions checked.
//!
//! After an error, Redis is told to close the old connection (`CLIENT KILL ID`, if it is still the
//! same Redis) before the next one is used. Otherwise a command that is still on its way could take
//! effect after the daemon has looked at the result.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::{Settings, permissions, scripts};
use crate::redis::ANSWER_TIMEOUT;

/// Time-out for connecting: short, so that the daemon notices soon that Redis is back…
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// …but every few tries long enough for a slow machine.
const PATIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of tries of which one is patient.
const PATIENT_EVERY: u32 = 4;

/// Makes one connection after the other, so that never two are in use.
///
/// A connection that returned an error may still be alive in Redis, with a command on its way.
/// Before the next connection is used, Redis is told to close the old one.
pub(super) struct Link {
    settings: Arc<Settings>,
    /// How long a command may block.
    blocks: Duration,
    last: Option<Identity>,
    warned: bool,
    /// Number of tries since the last success.
    tries: u32,
}

/// Identifies a connection in Redis. A Redis that restarts numbers its clients from the beginning
/// and has a new `run_id`.
struct Identity {
    run_id: String,
    client: i64,
}

impl Link {
    pub(super) fn new(settings: Arc<Settings>, blocks: Duration) -> Self {
        Self {
            settings,
            blocks,
            last: None,
            warned: false,
            tries: 0,
        }
    }

    /// Explains an error of this link.
    pub(super) fn explain(&self, error: &RedisError) -> String {
        if permissions::is_named(error) {
            return error.to_string();
        }
        self.settings.connector.explain(error)
    }

    /// Closes the last connection and returns a new one.
    pub(super) async fn connect(&mut self) -> Result<MultiplexedConnection, RedisError> {
        self.tries += 1;
        let timeout = if self.tries.is_multiple_of(PATIENT_EVERY) {
            PATIENT_CONNECT_TIMEOUT
        } else {
            CONNECT_TIMEOUT
        };
        let connector = &self.settings.connector;
        let mut connection = connector.connect(timeout, timeout).await?;
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
        scripts::load(&mut connection).await?;
        permissions::check(&mut connection, &self.settings.keys).await?;
        self.tries = 0;
        connection.set_response_timeout(self.blocks + ANSWER_TIMEOUT);
        Ok(connection)
    }

    fn warn(&mut self, error: &RedisError) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                %error,
                "the daemon's user in Redis may not close its own old connections: after a connection \
                 that hangs, a request could wait for the next start. Grant +client|kill"
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
