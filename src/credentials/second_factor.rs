//! The second factor: one-time codes by RFC 6238 (SHA-1, 6 digits, steps of
//! 30 s, one step of tolerance either side) and backup codes.
//!
//! The secret is sealed under the user's id, so that it opens for no other user.
//! Backup codes are stored as keyed hashes. A valid code is not enough: the store
//! must accept it, and accepts each code once (RFC 6238, section 5.2).

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
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
/// Length of a new secret in bytes: RFC 4226 recommends 160 bits.
const SECRET_BYTES: usize = 20;
/// Minimum length of a secret in bytes: RFC 4226 requires 128 bits.
const MIN_SECRET_BYTES: usize = 16;
/// Maximum length of a secret in bytes. HMAC-SHA-1 hashes a longer key to 160 bits (RFC 2104,
/// section 3), and a much longer one does not fit a QR code.
const MAX_SECRET_BYTES: usize = 64;
/// Number of digits of a one-time code.
const CODE_DIGITS: u8 = 6;
/// Number of backup codes of a user.
pub const BACKUP_CODES: usize = 10;
/// Length of a backup code in bytes: 80 bits are 16 characters of base32.
const BACKUP_CODE_BYTES: usize = 10;

/// Number of base32 characters of a backup code from Platypush (`platypush/user`,
/// `_generate_backup_codes`).
const IMPORTED_CODE_LENGTH: usize = 16;

/// The secret of an authenticator, as raw bytes. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpSecret(Zeroizing<Vec<u8>>);

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(…)")
    }
}

impl TotpSecret {
    /// Wraps raw bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Generates a secret.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    pub fn generate() -> Result<Self, Error> {
        random::secret(SECRET_BYTES).map(Self).map_err(Into::into)
    }

    /// Parses base32, with or without spaces and padding, in any case.
    ///
    /// # Errors
    /// When the text is not base32, or the secret does not have 128 to 512 bits.
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

    /// Returns the base32 form, for the reply and the authenticator.
    #[must_use]
    pub fn to_base32(&self) -> Zeroizing<String> {
        Zeroizing::new(Secret::new(self.0.as_slice().into()).to_base32())
    }

    /// Returns the raw bytes. The caller must seal or hash them.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns the code that an authenticator shows at `now`.
    #[must_use]
    pub fn current_code(&self, now: Timestamp) -> String {
        let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
        self.generator().generate(seconds).to_string()
    }

    /// Returns the time step that a code is valid for, if it is valid at `now`.
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

    /// Returns the `otpauth` URI for an authenticator, and its QR code as PNG in base64. The QR
    /// code is `None` if the URI is too long.
    ///
    /// # Errors
    /// When the URI cannot be built.
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
        // Drops the error, which may quote the URI.
        let no_uri = |_| Error::Internal("a second factor has no URI".into());
        // As documented: a query may contain an unescaped @ (RFC 3986, 3.4).
        let uri = totp
            .to_url()
            .map_err(no_uri)?
            .replace("issuer=platypush%40", "issuer=platypush@");
        let picture = qr_picture::draw(&uri);
        Ok((uri, picture))
    }
}

/// Returns the use of a code, if it is valid and unused.
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
    // Compares all of them, so that the time does not depend on the position of a match.
    let known = factor.backup_codes.iter().fold(false, |found, known| {
        found | bool::from(known.0.ct_eq(&hash.0))
    });
    Ok(known.then_some(CodeUse::Backup(hash)))
}

/// Generates ten backup codes. Returns them and the hashes that the store keeps.
pub(super) fn new_backup_codes(
    vault: &Vault,
    user_id: UserId,
) -> Result<(Vec<SecretString>, Vec<CodeHash>), Error> {
    let mut codes = Vec::with_capacity(BACKUP_CODES);
    for _ in 0..BACKUP_CODES {
        let bytes = random::secret(BACKUP_CODE_BYTES)?;
        let text = Zeroizing::new(Secret::new(bytes.as_slice().into()).to_base32());
        codes.push(SecretString::from(text.as_str()));
    }
    let hashes = codes
        .iter()
        .map(|code| hash_backup_code(vault, user_id, code.expose_secret()))
        .collect();
    Ok((codes, hashes))
}

fn hash_backup_code(vault: &Vault, user_id: UserId, code: &str) -> CodeHash {
    CodeHash(vault.keyed_hash(b"backup code", user_id, normalize(code).as_bytes()))
}

/// Normalizes a code to the form in which it was issued: users and apps add spaces and dashes or
/// use lower case, and some keyboards produce full-width characters.
fn normalize(code: &str) -> Zeroizing<String> {
    let kept = code.chars().map(half_width).filter(|c| !is_separator(*c));
    Zeroizing::new(kept.map(|c| c.to_ascii_uppercase()).collect())
}

/// Returns the ASCII character for a full-width one.
fn half_width(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        c => c,
    }
}

/// Whether a character is a space (non-breaking ones included), a dash, or has no width: apps put
/// direction marks around text that is copied from them.
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

/// Parses a one-time code. A client that sends it as a number loses leading zeros, which are
/// restored. Each text stands for one code, so that this allows no additional guesses.
pub(super) fn totp_code(code: &str) -> Option<Zeroizing<String>> {
    let code = normalize(code);
    let is_number = !code.is_empty() && code.bytes().all(|c| c.is_ascii_digit());
    let digits = usize::from(CODE_DIGITS);
    (is_number && code.len() <= digits)
        .then(|| Zeroizing::new(format!("{:0>digits$}", code.as_str())))
}

/// Parses a backup code from a Platypush node. Any other text is rejected here, before it costs a
/// hash for each record.
pub(super) fn imported_code(code: &str) -> Option<SecretString> {
    let code = normalize(code);
    let is_valid = code.len() == IMPORTED_CODE_LENGTH
        && code.bytes().all(|c| matches!(c, b'A'..=b'Z' | b'2'..=b'7'));
    is_valid.then(|| SecretString::from(code.as_str()))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    /// RFC 6238, appendix B, SHA-1: seconds since the epoch, and the last six of the eight digits.
    const VECTORS: [(i64, &str); 6] = [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ];

    fn rfc_secret() -> TotpSecret {
        TotpSecret::new(b"12345678901234567890".to_vec())
    }

    fn at(seconds: i64) -> Timestamp {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn codes_agree_with_rfc_6238() {
        for (seconds, code) in VECTORS {
            assert_eq!(rfc_secret().current_code(at(seconds)), code);
        }
    }

    #[test]
    fn a_code_is_valid_in_its_step_and_one_either_side() {
        for (seconds, code) in VECTORS {
            let step = seconds / 30;
            let step_of = |seconds| rfc_secret().step_of(code, at(seconds));
            for near in [step * 30 - 30, step * 30, seconds, step * 30 + 59] {
                assert_eq!(step_of(near), u64::try_from(step).ok(), "{code} at {near}");
            }
            for far in [step * 30 - 31, step * 30 + 60] {
                assert_eq!(step_of(far), None, "{code} at {far}");
            }
        }
    }

    /// Regression: only six ASCII digits without separators were accepted.
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
            // A number without its leading zero.
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
    fn a_backup_code_is_read_as_users_type_it() {
        for typed in [
            "abcd-efgh ijkl\u{a0}mnop",
            "\u{2068}abcd-efgh-ijkl-mnop\u{2069}",
            "ABCD\u{2011}EFGH\u{2013}IJKL MNOP",
            "ＡＢＣＤｅｆｇｈijklmnop",
        ] {
            assert_eq!(normalize(typed).as_str(), "ABCDEFGHIJKLMNOP", "{typed:?}");
        }
    }

    #[test]
    fn a_secret_is_read_as_users_write_it() {
        let base32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        assert_eq!(rfc_secret().to_base32().as_str(), base32);
        for text in [
            base32,
            "gezdgnbvgy3tqojqgezdgnbvgy3tqojq",
            "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ==",
        ] {
            let secret = TotpSecret::from_base32(text);
            assert!(secret.is_ok_and(|secret| secret == rfc_secret()));
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
