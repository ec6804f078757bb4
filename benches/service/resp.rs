//! Minimal RESP2 client with little overhead: one buffer for commands, one for answers.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

/// An answer of Redis, as far as the benchmark reads it.
#[derive(Debug)]
pub enum Answer<'a> {
    /// `:n`
    Number(i64),
    /// `+text`
    Status,
    /// `$n …`
    Text(&'a [u8]),
    /// `$-1` or `*-1`
    Nil,
    /// `*n …`: the elements follow as separate answers.
    Array(usize),
}

/// A connection with a buffer in each direction.
pub struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    read: Vec<u8>,
    /// End of the parsed part of `read`.
    start: usize,
    /// End of the received part of `read`.
    end: usize,
}

impl Connection {
    pub fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            out: Vec::with_capacity(1 << 20),
            read: vec![0; 1 << 20],
            start: 0,
            end: 0,
        })
    }

    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Begins a command of `words` words.
    pub fn begin(&mut self, words: usize) {
        self.header(b'*', words);
    }

    /// Adds a word to the command.
    pub fn word(&mut self, word: &[u8]) {
        self.header(b'$', word.len());
        self.out.extend_from_slice(word);
        self.out.extend_from_slice(b"\r\n");
    }

    pub fn command<const N: usize>(&mut self, words: [&[u8]; N]) {
        self.begin(N);
        for word in words {
            self.word(word);
        }
    }

    fn header(&mut self, kind: u8, number: usize) {
        self.out.push(kind);
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[at..]);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Sends the buffered commands.
    pub fn send(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Waits for more bytes.
    pub fn receive(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.read.len() {
            self.read.copy_within(self.start.., 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.read.len() {
                self.read.resize(2 * self.end, 0);
            }
        }
        let count = self.stream.read(&mut self.read[self.end..])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.end += count;
        Ok(())
    }

    /// Returns the next complete answer and its length in bytes. An array is returned without its
    /// elements.
    fn peek(&self, skip: usize) -> Option<(Answer<'_>, usize)> {
        let bytes = &self.read[self.start + skip..self.end];
        let line_end = bytes.iter().position(|byte| *byte == b'\r')?;
        let (line, after) = (bytes.get(1..line_end)?, line_end + 2);
        if bytes.len() < after {
            return None;
        }
        let number = || -> i64 {
            std::str::from_utf8(line)
                .ok()
                .and_then(|line| line.parse().ok())
                .expect("a number in an answer of Redis")
        };
        Some(match bytes[0] {
            b':' => (Answer::Number(number()), after),
            b'+' => (Answer::Status, after),
            b'*' => match usize::try_from(number()) {
                Ok(count) => (Answer::Array(count), after),
                Err(_) => (Answer::Nil, after),
            },
            b'$' => match usize::try_from(number()) {
                Ok(count) => (
                    Answer::Text(bytes.get(after..after + count)?),
                    after + count + 2,
                ),
                Err(_) => (Answer::Nil, after),
            },
            _ => panic!("error from Redis: {}", String::from_utf8_lossy(line)),
        })
    }

    /// Passes the next complete answer to `take`, each element of an array (not nested) separately.
    /// Returns `false` if no complete answer has been received.
    pub fn next(&mut self, mut take: impl FnMut(Answer<'_>)) -> bool {
        let mut length = 0;
        let mut values = 1;
        while values > 0 {
            let Some((answer, bytes)) = self.peek(length) else {
                return false;
            };
            length += bytes;
            values -= 1;
            if let Answer::Array(count) = answer {
                values += count;
            }
        }
        let mut at = 0;
        while at < length {
            let Some((answer, bytes)) = self.peek(at) else {
                break;
            };
            at += bytes;
            take(answer);
        }
        self.start += length;
        true
    }

    /// Returns the number of keys.
    pub fn keys(&mut self) -> i64 {
        self.number(["DBSIZE".as_bytes()])
    }

    /// Returns the length of a list.
    pub fn length(&mut self, list: &str) -> i64 {
        self.number([b"LLEN", list.as_bytes()])
    }

    fn number<const N: usize>(&mut self, command: [&[u8]; N]) -> i64 {
        self.command(command);
        self.send().unwrap();
        let mut found = 0;
        self.wait(|answer| {
            if let Answer::Number(number) = answer {
                found = number;
            }
        })
        .unwrap();
        found
    }

    /// Waits for the next answer and passes it to `take`.
    pub fn wait(&mut self, mut take: impl FnMut(Answer<'_>)) -> io::Result<()> {
        while !self.next(&mut take) {
            self.receive()?;
        }
        Ok(())
    }
}
