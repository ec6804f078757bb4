//! The second factor: one-time codes by RFC 6238 (SHA-1, 6 digits, steps of
//! 30 s, one step of tolerance either side) and backup codes.
//!
//! The secret is sealed under the user's id, so that it opens for nobody else;
//! backup codes are kept as keyed hashes. Finding a code right is not enough:
//! the store has to take it, and takes each once (RFC 6238, section 5.2).

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::SecretString;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use totp_rs::{Algorithm, Builder, Secret, Totp};
use zeroize::Zeroizing;

use super::qr_picture;
use super::vault::Vault;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::model::{CodeHash, CodeUse, SecondFactor, UserId};
use crate::random;

/// Length of a time step in seconds.
pub const STEP_SECONDS: u64 = 30;
/// Bytes of a new secret: RFC 4226 recommends 160 bits…
const SECRET_BYTES: usize = 20;
/// …and asks for 128 at least.
const MIN_SECRET_BYTES: usize = 16;
/// HMAC-SHA-1 makes less of a longer key (RFC 2104, section 3), and no picture
/// holds one that is much longer.
const MAX_SECRET_BYTES: usize = 64;
/// Digits of a one-time code.
const CODE_DIGITS: u8 = 6;
/// How many backup codes a user gets.
pub const BACKUP_CODES: usize = 10;
/// Bytes of a backup code: 80 bits are 16 characters of base32.
const BACKUP_CODE_BYTES: usize = 10;

/// Characters of a backup code of Platypush's, of base32 (`platypush/user`,
/// `_generate_backup_codes`).
const IMPORTED_CODE_LENGTH: usize = 16;

/// The secret of an authenticator, raw bytes. It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpSecret(Zeroizing<Vec<u8>>);

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(…)")
    }
}

/// A backup code as the user gets it, once. It cannot be printed.
#[derive(Clone)]
pub struct BackupCode(Zeroizing<String>);

impl fmt::Debug for BackupCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackupCode(…)")
    }
}

impl BackupCode {
    /// The code itself, for the reply.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl TotpSecret {
    /// Wraps raw bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Draws a new one.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = vec![0; SECRET_BYTES];
        random::fill(&mut bytes)?;
        Ok(Self::new(bytes))
    }

    /// Reads base32, with or without spaces and padding, in any case.
    ///
    /// # Errors
    /// What is no base32, shorter than 128 bits or longer than 512.
    pub fn from_base32(text: &str) -> Result<Self, Error> {
        let plain: Zeroizing<String> = Zeroizing::new(
            text.chars()
                .filter(|c| !c.is_whitespace() && *c != '=')
                .map(|c| c.to_ascii_uppercase())
                .collect(),
        );
        match Secret::try_from_base32(plain.as_str()) {
            Ok(secret)
                if (MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&secret.as_bytes().len()) =>
            {
                Ok(Self::new(secret.as_bytes().to_vec()))
            }
            _ => Err(Error::BadOtpSecret),
        }
    }

    /// The base32 form, for the reply and the authenticator.
    #[must_use]
    pub fn to_base32(&self) -> Zeroizing<String> {
        Zeroizing::new(Secret::new(self.0.as_slice().into()).to_base32())
    }

    /// The raw bytes, to be sealed.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The code of the step that holds `now`: what an authenticator shows.
    #[must_use]
    pub fn current_code(&self, now: Timestamp) -> String {
        let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
        self.generator().generate(seconds).to_string()
    }

    /// The time step a code is good for.
    #[must_use]
    pub fn step_of(&self, code: &str, now: Timestamp) -> Option<u64> {
        let seconds = u64::try_from(now.timestamp()).ok()?;
        self.generator().check(code, seconds)
    }

    fn generator(&self) -> Totp {
        self.builder().build_noncompliant()
    }

    fn builder(&self) -> Builder {
        Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(CODE_DIGITS)
            .with_skew(1)
            .with_step_duration(STEP_SECONDS)
            .with_secret(Secret::new(self.0.as_slice().into()))
    }

    /// What an authenticator is set up with: the `otpauth` URI and a picture
    /// of it as PNG in base64, or `None` where the URI is too long for a QR code.
    ///
    /// # Errors
    /// When there is no URI.
    pub fn enrolment(
        &self,
        issuer: &str,
        username: &str,
    ) -> Result<(String, Option<String>), Error> {
        // A colon separates issuer and account in the URI's label.
        let totp = self
            .builder()
            .with_issuer(Some(issuer.replace(':', "_")))
            .with_account_name(username.replace(':', "_"))
            .build_noncompliant();
        // Without its text, which may quote the URI.
        let broken = |_| Error::Internal("a second factor has no URI".into());
        // As it is documented: an @ needs no escape in a query (RFC 3986, 3.4).
        let uri = totp
            .to_url()
            .map_err(broken)?
            .replace("issuer=platypush%40", "issuer=platypush@");
        let picture = qr_picture::draw(&uri);
        Ok((uri, picture))
    }
}

/// The code of a user, if it is right and not used yet.
pub(super) fn check(
    vault: &Vault,
    user_id: UserId,
    factor: &SecondFactor,
    code: &str,
    now: Timestamp,
) -> Result<Option<CodeUse>, Error> {
    let secret = vault.open_totp(user_id, &factor.secret)?;
    let totp = totp_code(code);
    if let Some(step) = totp.and_then(|code| secret.step_of(&code, now)) {
        return Ok((step > factor.last_step).then_some(CodeUse::Step(step)));
    }
    let hash = hash_backup_code(vault, user_id, code);
    // All of them, so that the time tells nothing.
    let known = factor.backup_codes.iter().fold(false, |found, known| {
        found | bool::from(known.0.ct_eq(&hash.0))
    });
    Ok(known.then_some(CodeUse::Backup(hash)))
}

/// Ten new backup codes and what is kept of them.
pub(super) fn new_backup_codes(
    vault: &Vault,
    user_id: UserId,
) -> Result<(Vec<BackupCode>, Vec<CodeHash>), Error> {
    let mut codes = Vec::with_capacity(BACKUP_CODES);
    for _ in 0..BACKUP_CODES {
        let mut bytes = Zeroizing::new([0; BACKUP_CODE_BYTES]);
        random::fill(bytes.as_mut_slice())?;
        let text = Secret::new(bytes.as_slice().into()).to_base32();
        codes.push(BackupCode(Zeroizing::new(text)));
    }
    let hashes = codes
        .iter()
        .map(|code| hash_backup_code(vault, user_id, code.expose()))
        .collect();
    Ok((codes, hashes))
}

fn hash_backup_code(vault: &Vault, user_id: UserId, code: &str) -> CodeHash {
    CodeHash(vault.keyed_hash(b"backup code", user_id, plain(code).as_bytes()))
}

/// A code as it was handed out: people and phones add spaces and dashes, use
/// small letters, and some keyboards full-width forms.
fn plain(code: &str) -> Zeroizing<String> {
    let kept = code.chars().map(half_width).filter(|c| !is_separator(*c));
    Zeroizing::new(kept.map(|c| c.to_ascii_uppercase()).collect())
}

/// The ASCII character of which this is the full-width form.
fn half_width(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        c => c,
    }
}

/// Spaces (those that break no line among them), dashes, and what has no width: apps
/// put marks of direction around what is copied from them.
fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '-' | '\u{ad}' | '\u{2010}'
                ..='\u{2015}'
                    | '\u{2212}'
                    | '\u{fe58}'
                    | '\u{fe63}'
                    | '\u{200b}'
                    | '\u{200e}'
                    | '\u{200f}'
                    | '\u{202a}'
                        ..='\u{202e}'
                    | '\u{2060}'
                    | '\u{2066}'
                        ..='\u{2069}'
                    | '\u{feff}'
        )
}

/// The one-time code that is meant, if it can be one. A number has lost the
/// zeros that it began with. Each text means one code, so that this allows no
/// more guesses.
pub(super) fn totp_code(code: &str) -> Option<Zeroizing<String>> {
    let plain = plain(code);
    let is_number = !plain.is_empty() && plain.bytes().all(|c| c.is_ascii_digit());
    let digits = usize::from(CODE_DIGITS);
    (is_number && plain.len() <= digits)
        .then(|| Zeroizing::new(format!("{:0>digits$}", plain.as_str())))
}

/// A code as a Platypush node has handed it out, if it can be one: the others
/// are not worth a hash for each record.
pub(super) fn imported_code(code: &str) -> Option<SecretString> {
    let plain = plain(code);
    let is_one = plain.len() == IMPORTED_CODE_LENGTH
        && plain
            .bytes()
            .all(|c| matches!(c, b'A'..=b'Z' | b'2'..=b'7'));
    is_one.then(|| SecretString::from(plain.as_str()))
}

/// HMAC-SHA-256 over parts of known length.
pub(super) fn keyed_hash(key: &[u8], purpose: &[u8], user_id: UserId, data: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length; the key is ours and has 32 bytes.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(purpose);
    mac.update(&user_id.to_be_bytes());
    mac.update(data);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    /// RFC 6238, appendix B, SHA-1: seconds since the epoch, and the last six
    /// of the eight digits.
    const VECTORS: [(i64, &str); 6] = [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ];

    fn secret_of_the_rfc() -> TotpSecret {
        TotpSecret::new(b"12345678901234567890".to_vec())
    }

    fn at(seconds: i64) -> Timestamp {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn codes_are_those_of_rfc_6238() {
        for (seconds, code) in VECTORS {
            assert_eq!(secret_of_the_rfc().current_code(at(seconds)), code);
        }
    }

    #[test]
    fn a_code_is_good_in_its_step_and_one_either_side() {
        for (seconds, code) in VECTORS {
            let step = seconds / 30;
            let step_of = |seconds| secret_of_the_rfc().step_of(code, at(seconds));
            for near in [step * 30 - 30, step * 30, seconds, step * 30 + 59] {
                assert_eq!(step_of(near), u64::try_from(step).ok(), "{code} at {near}");
            }
            for far in [step * 30 - 31, step * 30 + 60] {
                assert_eq!(step_of(far), None, "{code} at {far}");
            }
        }
    }

    /// Regression: only six ASCII digits in one piece were taken.
    #[test]
    fn a_code_is_read_as_phones_show_it() {
        let code = |text: &str| totp_code(text).map(|code| code.to_string());
        for shown in [
            "012345",
            " 012 345 ",
            "012\u{a0}345",
            "012\u{202f}345",
            "012\u{2007}345",
            "012-345",
            "012\u{2010}345",
            "012\u{2011}345",
            "012\u{2013}345",
            "012\u{2212}345",
            "\u{feff}012345",
            "\u{200e}012345\u{200f}",
            "\u{202a}012 345\u{202c}",
            "\u{2066}012345\u{2069}",
            "０１２３４５",
            "０１２　３４５",
            // A number that has lost its zero.
            "12345",
        ] {
            assert_eq!(code(shown).as_deref(), Some("012345"), "{shown:?}");
        }
        assert_eq!(code("7").as_deref(), Some("000007"));
        for other in ["", " ", "-", "0123456", "01234x", "1e5", "12.345", "+12345"] {
            assert_eq!(code(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_backup_code_is_read_as_people_type_it() {
        for typed in [
            "abcd-efgh ijkl\u{a0}mnop",
            "\u{2068}abcd-efgh-ijkl-mnop\u{2069}",
            "ABCD\u{2011}EFGH\u{2013}IJKL MNOP",
            "ＡＢＣＤｅｆｇｈijklmnop",
        ] {
            assert_eq!(plain(typed).as_str(), "ABCDEFGHIJKLMNOP", "{typed:?}");
        }
    }

    #[test]
    fn a_secret_is_read_as_people_write_it() {
        let base32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        assert_eq!(secret_of_the_rfc().to_base32().as_str(), base32);
        for text in [
            base32,
            "gezdgnbvgy3tqojqgezdgnbvgy3tqojq",
            "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ==",
        ] {
            let secret = TotpSecret::from_base32(text);
            assert!(secret.is_ok_and(|secret| secret == secret_of_the_rfc()));
        }
    }

    #[test]
    fn a_secret_has_128_to_512_bits() {
        let of_length = |bytes| TotpSecret::new(vec![7; bytes]).to_base32();
        for length in [16, 20, 64] {
            assert!(TotpSecret::from_base32(&of_length(length)).is_ok());
        }
        let [short, long] = [15, 65].map(of_length);
        for bad in [&*short, &*long, "", "no base32!", "0189"] {
            let read = TotpSecret::from_base32(bad);
            assert!(matches!(read, Err(Error::BadOtpSecret)), "{bad:?}");
        }
    }
}
