//! Blocklist of common and leaked passwords (OWASP ASVS 5.0, 6.2.4 and 6.2.12; NIST SP 800-63B-4,
//! 3.1.1.2).

use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::failure::{HasRemedy, Remedy, advice};

/// The passwords of a file, stored as the first 64 bits of their SHA-256: 8 bytes each. With ten
/// million entries, another password is rejected by chance once in 10^12 times.
#[derive(Debug)]
pub struct Blocklist(Vec<u64>);

/// Why the blocklist cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the list of refused passwords {path} (password.blocklist_file): {error}{}", advice(path, error), path = path.display())]
pub struct BlocklistError {
    path: PathBuf,
    error: io::Error,
}

impl HasRemedy for BlocklistError {
    fn remedy(&self) -> Remedy {
        Remedy::of_io(&self.error)
    }
}

impl Blocklist {
    /// Reads a file with one password a line.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Self, BlocklistError> {
        let read = || -> io::Result<Vec<u64>> {
            let mut hashes = Vec::new();
            // Bytes, not text: such lists are not always UTF-8.
            let mut file = BufReader::new(std::fs::File::open(path)?);
            // An editor may have added a byte order mark.
            if file.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
                file.consume(3);
            }
            for line in file.split(b'\n') {
                let line = line?;
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                if !line.is_empty() {
                    hashes.push(hash(&String::from_utf8_lossy(line)));
                }
            }
            hashes.sort_unstable();
            hashes.dedup();
            Ok(hashes)
        };
        read().map(Self).map_err(|error| BlocklistError {
            path: path.to_owned(),
            error,
        })
    }

    /// Whether a password is on the list. Ignores case.
    #[must_use]
    pub fn contains(&self, password: &str) -> bool {
        self.0.binary_search(&hash(password)).is_ok()
    }

    /// Returns the number of passwords on the list.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the list is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn hash(password: &str) -> u64 {
    let lower = zeroize::Zeroizing::new(password.to_lowercase());
    let hash: [u8; 32] = Sha256::digest(lower.as_bytes()).into();
    u64::from_be_bytes(std::array::from_fn(|index| hash[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_the_lines_of_the_file_in_any_case() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        std::fs::write(
            &file,
            b"\xef\xbb\xbfPassword1\r\n\nqwerty\n\xff\xfe\nqwerty\n",
        )
        .unwrap();
        let list = Blocklist::read(&file).unwrap();
        assert_eq!(list.len(), 3);
        for common in ["password1", "PASSWORD1", "qwerty"] {
            assert!(list.contains(common), "{common}");
        }
        for other in ["", "password", "qwerty ", "Password1\r"] {
            assert!(!list.contains(other), "{other}");
        }
    }

    #[test]
    fn an_error_names_the_file() {
        let error = Blocklist::read(Path::new("/nowhere/list")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/list"), "{error}");
    }
}
