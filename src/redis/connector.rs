//! Makes connections to the Redis of the configuration.

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

/// How long an answer may take, on top of what the command itself waits for.
/// A connection that is silent for longer is taken for dead. (The redis
/// crate's default, 500 ms, also applies to blocking commands: it would give
/// them up while Redis goes on with them.)
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// The slowest line on which a long reply still gets through: 800 kbit/s.
const SLOWEST_BYTES_PER_MS: usize = 100;
/// Silence after which TCP asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Bytes that are written at once (8 KiB by default): batches are larger.
const WRITE_BUFFER: usize = 1 << 20;

/// Why there is no way to connect at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// A certificate file cannot be read.
    #[error("cannot read {path}: {error}{}", advice(path, error), path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// What the redis crate says of the address or the certificates.
    #[error("the address or the certificates of Redis cannot be used: {0}")]
    Unusable(RedisError),
}

impl HasRemedy for ConnectorError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::File { error, .. } => Remedy::of_io(error),
            Self::Unusable(_) => Remedy::Person,
        }
    }
}

/// Makes connections to one Redis.
#[derive(Clone)]
pub struct Connector {
    client: Client,
    /// The address for people.
    address: String,
}

impl Connector {
    /// For the Redis of the configuration. Does not connect.
    ///
    /// # Errors
    /// When the URL or the certificates cannot be used. The text never holds
    /// the password.
    pub fn new(redis: &Redis) -> Result<Self, ConnectorError> {
        // An error only says that there is a provider already.
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
        let certificates = redis.tls.as_ref().map(certificates).transpose()?;
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        };
        Ok(Self {
            client: client.map_err(ConnectorError::Unusable)?,
            address: redis.display().to_owned(),
        })
    }

    /// Says what an error means and what to do, where it means that Redis cannot
    /// be reached; any other error says it itself.
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

    /// A new connection of its own, made within `connect`, whose commands are
    /// answered within `answer`.
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

    /// The same for a thread that can wait.
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

/// How long that many bytes may take on a slow line.
#[must_use]
pub fn sending_time(bytes: usize) -> Duration {
    Duration::from_millis(u64::try_from(bytes / SLOWEST_BYTES_PER_MS).unwrap_or(u64::MAX))
}

fn certificates(tls: &TlsFiles) -> Result<TlsCertificates, ConnectorError> {
    let client_tls = match &tls.client {
        Some(client) => Some(ClientTlsConfig {
            client_cert: read(&client.certfile)?,
            client_key: read(&client.keyfile)?,
        }),
        None => None,
    };
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
    // An editor may have put a byte order mark there.
    if pem.starts_with(b"\xef\xbb\xbf") {
        pem.drain(..3);
    }
    Ok(pem)
}
