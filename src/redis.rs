//! Connections to Redis for the queue, the events and the command-line client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, IntoConnectionInfo as _, RedisError,
    TlsCertificates, io::tcp::TcpSettings, io::tcp::socket2::TcpKeepalive,
};
use secrecy::ExposeSecret as _;

use crate::config::{Redis, TlsFiles};
use crate::failure::{HasRemedy, Remedy, advice};

/// Maximum time until Redis answers, on top of the time for which a blocking command waits.
/// After it, the connection counts as dead. (The redis crate's default, 500 ms, also applies to
/// blocking commands: the client would abandon them while Redis still executes them.)
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// Minimum assumed bandwidth: 800 kbit/s. A long reply times out on a slower connection.
const MIN_BYTES_PER_MS: usize = 100;
/// Idle time after which TCP sends keepalive probes.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Write buffer in bytes. Batches are larger than the default of 8 KiB.
const WRITE_BUFFER: usize = 1 << 20;

/// Error in the configuration of the connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// A certificate file cannot be read.
    #[error("cannot read {path}: {error}{}", advice(path, error), path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Cause.
        error: std::io::Error,
    },
    /// The redis crate rejects the address or the certificates.
    #[error("the address or the certificates of Redis cannot be used: {0}")]
    Unusable(RedisError),
}

impl HasRemedy for ConnectorError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::File { error, .. } => Remedy::of_io(error),
            Self::Unusable(_) => Remedy::Operator,
        }
    }
}

/// Opens connections to one Redis.
#[derive(Clone)]
pub struct Connector {
    client: Client,
    /// Address without the password, for messages.
    address: String,
}

impl Connector {
    /// Creates a connector for the configured Redis. Does not connect.
    ///
    /// # Errors
    /// When the URL or the certificates cannot be used. The error text never contains the
    /// password.
    pub fn new(redis: &Redis) -> Result<Self, ConnectorError> {
        // An error only means that a provider is already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE));
        let info = redis
            .url
            .expose_secret()
            .into_connection_info()
            .map_err(ConnectorError::Unusable)?
            .set_tcp_settings(tcp);
        let client = match &redis.tls {
            Some(tls) => Client::build_with_tls(info, certificates(tls)?),
            None => Client::open(info),
        };
        Ok(Self {
            client: client.map_err(ConnectorError::Unusable)?,
            address: redis.display().to_owned(),
        })
    }

    /// Returns the text of an error. An I/O error gets the address and advice, because it means
    /// that Redis cannot be reached.
    #[must_use]
    pub fn explain(&self, error: &RedisError) -> String {
        if !error.is_io_error() {
            return error.to_string();
        }
        let address = &self.address;
        format!(
            "cannot reach Redis at {address} ({error}): start it (on this machine: sudo systemctl \
             start redis-server), or name another address with redis.url in the configuration or \
             PLATYPUSH_USERD_REDIS__URL"
        )
    }

    /// Opens a new connection. `connect` limits the time for connecting, `answer` the time until
    /// a command is answered.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn connect(
        &self,
        connect: Duration,
        answer: Duration,
    ) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect))
            .set_response_timeout(Some(answer))
            .set_write_backpressure_boundary(WRITE_BUFFER);
        self.client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// Opens a blocking connection, for a thread outside the runtime.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub fn connect_blocking(
        &self,
        connect: Duration,
        answer: Duration,
    ) -> Result<redis::Connection, RedisError> {
        let connection = self.client.get_connection_with_timeout(connect)?;
        connection.set_read_timeout(Some(answer))?;
        connection.set_write_timeout(Some(answer))?;
        Ok(connection)
    }
}

/// Returns the time to send `bytes` at the minimum assumed bandwidth.
#[must_use]
pub fn sending_time(bytes: usize) -> Duration {
    Duration::from_millis(u64::try_from(bytes / MIN_BYTES_PER_MS).unwrap_or(u64::MAX))
}

fn certificates(tls: &TlsFiles) -> Result<TlsCertificates, ConnectorError> {
    let mut client_tls = None;
    if let Some(client) = &tls.client {
        client_tls = Some(ClientTlsConfig {
            client_cert: read(&client.certfile)?,
            client_key: read(&client.keyfile)?,
        });
    }
    Ok(TlsCertificates {
        client_tls,
        root_cert: tls.ca_certs.as_deref().map(read).transpose()?,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, ConnectorError> {
    let mut pem = std::fs::read(path).map_err(|error| ConnectorError::File {
        path: path.to_owned(),
        error,
    })?;
    // Some editors add a byte order mark.
    if pem.starts_with(b"\xef\xbb\xbf") {
        pem.drain(..3);
    }
    Ok(pem)
}

/// First delay of a [`Backoff`].
const MIN_DELAY: Duration = Duration::from_millis(50);
/// Maximum delay of a [`Backoff`].
const MAX_DELAY: Duration = Duration::from_secs(1);

/// Exponential backoff between connection attempts, from 50 ms to 1 s.
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(MIN_DELAY)
    }
}

impl Backoff {
    /// Waits for the current delay, then doubles it.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(MAX_DELAY);
    }
}
