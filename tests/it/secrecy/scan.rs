//! Searches bytes for secrets, complete or truncated, plain or encoded.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

/// Number of consecutive bytes of a secret that count as a match: a truncated secret is one, too.
const PIECE: usize = 12;

/// The secrets to search for.
#[derive(Clone, Default)]
pub struct Secrets(HashMap<[u8; PIECE], String>);

impl Secrets {
    /// Adds a secret with so much entropy that an attacker cannot guess it from its SHA-256. The
    /// SHA-256 itself is allowed.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        for (form, bytes) in forms(secret) {
            for piece in bytes.windows(PIECE) {
                let piece = piece.try_into().unwrap();
                let found = || format!("{name} ({form})");
                self.0.entry(piece).or_insert_with(found);
            }
        }
    }

    /// Adds a password and its SHA-256.
    pub fn add_password(&mut self, name: &str, password: &str) {
        self.add(name, password.as_bytes());
        self.add(&format!("SHA-256 of {name}"), &Sha256::digest(password));
    }

    /// Returns the names of all secrets that are found.
    pub fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let pieces = bytes.windows(PIECE);
        let mut found: Vec<_> = pieces
            .filter_map(|piece| self.0.get(piece))
            .map(String::as_str)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Returns a secret in every encoding in which it could be written.
fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![
        ("raw", secret.to_vec()),
        ("hex", hex::encode(secret).into_bytes()),
        ("HEX", hex::encode_upper(secret).into_bytes()),
        ("list of numbers", format!("{secret:?}").into_bytes()),
        ("list of hex", format!("{secret:02x?}").into_bytes()),
        ("list of HEX", format!("{secret:02X?}").into_bytes()),
    ];
    for shift in 0..3 {
        forms.push(("base64", base64(secret, shift, b"+/")));
        forms.push(("base64 for URLs", base64(secret, shift, b"-_")));
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        let utf_16 = text.encode_utf16().flat_map(u16::to_le_bytes);
        forms.push(("UTF-16", utf_16.collect()));
        forms.push(("escaped", text.escape_default().to_string().into_bytes()));
    }
    // The decoded bytes of a hexadecimal token.
    if let Ok(bytes) = hex::decode(secret) {
        forms.push(("bytes", bytes));
    }
    forms
}

/// Returns the base64 digits that depend on `secret` alone when it starts at byte `shift` of the
/// encoded data.
fn base64(secret: &[u8], shift: usize, last_two: &[u8; 2]) -> Vec<u8> {
    let digits: Vec<u8> = (b'A'..=b'Z')
        .chain(b'a'..=b'z')
        .chain(b'0'..=b'9')
        .chain(last_two.iter().copied())
        .collect();
    let bit = |at: usize| usize::from(secret[at / 8] >> (7 - at % 8) & 1);
    let first = (6 - shift * 8 % 6) % 6;
    (first..=(secret.len() * 8).saturating_sub(6))
        .step_by(6)
        .map(|from| digits[(from..from + 6).fold(0, |digit, at| digit << 1 | bit(at))])
        .collect()
}

#[test]
fn a_secret_is_found_in_every_encoding_and_at_every_offset() {
    let mut secrets = Secrets::default();
    secrets.add_password("the password", "correct horse \"battery\" stäple");
    let hash = hex::encode(Sha256::digest("correct horse \"battery\" stäple"));
    // The base64 texts were made with Python, of the secret after 0, 1 and 2 bytes.
    for leak in [
        "password=correct horse \"battery\" stäple;",
        "cut off: correct horse \"batt",
        "636f727265637420686f727365",
        "636F727265637420686F727365",
        "[99, 111, 114, 114, 101, 99, 116, 32, 104]",
        "[63, 6f, 72, 72, 65, 63, 74, 20, 68]",
        "[63, 6F, 72, 72, 65, 63, 74, 20, 68]",
        "Y29ycmVjdCBob3JzZSAiYmF0dGVyeSIgc3TDpHBsZQ==",
        "LWNvcnJlY3QgaG9yc2UgImJhdHRlcnkiIHN0w6RwbGU=",
        "LS1jb3JyZWN0IGhvcnNlICJiYXR0ZXJ5IiBzdMOkcGxl",
        r"horse \u{22}battery\u{22} st\u{e4}ple",
        r#"horse \"battery\" st"#,
        &hash,
        &hash[30..],
    ] {
        assert!(!secrets.found_in(leak.as_bytes()).is_empty(), "{leak}");
    }
    let raw_hash = Sha256::digest("correct horse \"battery\" stäple");
    assert!(!secrets.found_in(&raw_hash[..12]).is_empty());
    for harmless in ["", "correct horse", "another password", &"0".repeat(1_000)] {
        let expected = harmless == "correct horse";
        let found = !secrets.found_in(harmless.as_bytes()).is_empty();
        assert_eq!(found, expected, "{harmless}");
    }
}
