//! How secrets, and what one could guess them by, are written as JSON. Reading
//! checks them again, and quotes nothing.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::Origin;

/// A record as its text; only one that can be checked is read.
pub(super) mod record {
    use super::*;
    use crate::credentials::imported;
    use crate::model::PasswordRecord;

    pub(in crate::migration) fn serialize<S: Serializer>(
        record: &PasswordRecord,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(record.expose())
    }

    pub(in crate::migration) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<PasswordRecord, D::Error> {
        let record = PasswordRecord::new(String::deserialize(from)?);
        imported::is_usable(&record)
            .then_some(record)
            .ok_or_else(|| D::Error::custom("no hash of a Platypush node"))
    }
}

/// A second factor as base32.
pub(super) mod totp {
    use super::*;
    use crate::credentials::TotpSecret;

    pub(in crate::migration) fn serialize<S: Serializer>(
        secret: &Option<TotpSecret>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => to.serialize_some(secret.to_base32().as_str()),
            None => to.serialize_none(),
        }
    }

    pub(in crate::migration) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<TotpSecret>, D::Error> {
        let text: Option<Zeroizing<String>> = Option::deserialize(from)?;
        text.map(|text| TotpSecret::from_base32(&text))
            .transpose()
            .map_err(|_| D::Error::custom("no secret of a second factor"))
    }
}

/// The hash of a session token in hexadecimal.
pub(super) mod token {
    use super::*;
    use crate::model::TokenHash;

    pub(in crate::migration) fn serialize<S: Serializer>(
        token: &TokenHash,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(token.0))
    }

    pub(in crate::migration) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<TokenHash, D::Error> {
        from_hex(from).map(TokenHash)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from_hex(from).map(Self)
    }
}

fn from_hex<'de, const N: usize, D: Deserializer<'de>>(from: D) -> Result<[u8; N], D::Error> {
    let mut bytes = [0; N];
    hex::decode_to_slice(String::deserialize(from)?, &mut bytes)
        .map_err(|_| D::Error::custom(format_args!("not {N} bytes in hexadecimal")))?;
    Ok(bytes)
}
