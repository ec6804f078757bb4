//! Frames of the control socket: the number of bytes of a value (u32, big-endian), and the value in
//! JSON.

use std::io::{self, Read};
use std::os::unix::net;
use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

const HEADER: usize = size_of::<u32>();
/// Bytes that are read at first. More are allocated as they arrive, whatever the header says.
const CHUNK: usize = 64 << 10;

/// Encodes a value, which may contain a password.
///
/// # Errors
/// When the value is too long for a frame.
pub(super) fn encode(value: &impl Serialize) -> io::Result<Zeroizing<Vec<u8>>> {
    // A vector that grows leaves a copy behind. What may contain a password fits into this one.
    let mut frame = Zeroizing::new(Vec::with_capacity(CHUNK));
    frame.extend([0; HEADER]);
    serde_json::to_writer(&mut *frame, value)?;
    let length = u32::try_from(frame.len() - HEADER)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a frame takes at most 4 GiB"))?;
    frame[..HEADER].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// Maximum pause of a client while it sends a request or reads the answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the value of a frame, until it has this many bytes.
pub(super) async fn read_value(
    stream: &mut UnixStream,
    value: &mut Zeroizing<Vec<u8>>,
    length: usize,
) -> io::Result<()> {
    while value.len() < length {
        if value.len() == value.capacity() {
            // A vector that grows by itself leaves a copy of a password behind.
            let capacity = (2 * value.len()).max(CHUNK);
            let mut longer = Zeroizing::new(Vec::with_capacity(capacity));
            longer.extend_from_slice(value);
            *value = longer;
        }
        let rest = u64::try_from(length - value.len()).unwrap_or(u64::MAX);
        let mut rest = (&mut *stream).take(rest);
        if timeout(TIMEOUT, rest.read_buf(&mut **value)).await?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Reads frames from a stream whose reads may time out or be interrupted by a signal.
#[derive(Default)]
pub(super) struct FrameReader(Vec<u8>);

impl FrameReader {
    /// Returns the next value, or `None` when the read ends early. What was read of it is kept.
    pub(super) fn read(&mut self, mut stream: &net::UnixStream) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some((header, rest)) = self.0.split_first_chunk::<HEADER>() {
                let length =
                    usize::try_from(u32::from_be_bytes(*header)).map_err(io::Error::other)?;
                if rest.len() >= length {
                    let value = rest[..length].to_vec();
                    self.0.drain(..HEADER + length);
                    return Ok(Some(value));
                }
            }
            let mut chunk = [0; CHUNK];
            match stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.0.extend_from_slice(&chunk[..count]),
                Err(error) if ends_early(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns whether the read timed out, or a signal such as that of Ctrl-C interrupted it. A read with
/// a time-out is not restarted after a signal (`signal(7)`).
fn ends_early(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
