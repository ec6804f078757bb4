//! Connections to Redis for the queue, the events and the command-line client.

mod backoff;
mod connector;

pub use self::backoff::Backoff;
pub use self::connector::{ANSWER_TIMEOUT, Connector, ConnectorError, sending_time};
