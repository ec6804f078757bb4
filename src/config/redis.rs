//! The connection to Redis: an address, or separate keys as in Platypush's own configuration.
//!
//! An address overrides keys of a lower layer. Keys in the same layer as an address, or in a higher
//! one, are an error: with `PLATYPUSH_USERD_REDIS__PASSWORD` the operator wants to complete the
//! address of the file, and the daemon would silently connect to another server. The keys override
//! the default address.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use redis::{ConnectionAddr, IntoConnectionInfo as _};
use secrecy::SecretString;

use super::keys::{self, Key};
use super::problem::SettingSource;
use super::source::Settings;

/// Connection to Redis.
#[derive(Debug, Clone)]
pub struct Redis {
    /// The address in the format of the `redis` crate. It may contain a password.
    pub url: SecretString,
    /// Files for an encrypted connection, if any are set. The scheme of the address is then
    /// `rediss`.
    pub tls: Option<TlsFiles>,
    display: String,
}

impl Redis {
    /// Returns the address with `***` in place of a password.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }
}

/// PEM files for an encrypted connection, at least one. This module does not read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate authorities to trust. `None`: those that the system trusts.
    pub ca_certs: Option<PathBuf>,
    /// Certificate and key of the daemon.
    pub client: Option<ClientFiles>,
}

/// Files by which the daemon authenticates to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificate.
    pub certfile: PathBuf,
    /// The private key of the certificate.
    pub keyfile: PathBuf,
}

/// The keys that together make an address.
static ADDRESS_KEYS: [&Key; 6] = [
    &keys::REDIS_HOST,
    &keys::REDIS_PORT,
    &keys::REDIS_USERNAME,
    &keys::REDIS_PASSWORD,
    &keys::REDIS_DB,
    &keys::REDIS_SSL,
];

static TLS_FILES: [&Key; 3] = [
    &keys::REDIS_SSL_CA_CERTS,
    &keys::REDIS_SSL_CERTFILE,
    &keys::REDIS_SSL_KEYFILE,
];

const MASK: &str = "***";

/// Returns the number of a layer. A higher layer overrides lower ones.
const fn layer(source: &SettingSource) -> u8 {
    match source {
        SettingSource::Default | SettingSource::Computed(_) => 0,
        SettingSource::File { .. } => 1,
        SettingSource::Variable(_) => 2,
    }
}

impl Settings {
    /// Returns the connection of the section `redis`.
    pub(super) fn redis(&mut self) -> Redis {
        // All keys but the host are numbers or are encoded, so only the host can make the address
        // invalid.
        let (url, key, error) = match self.first_address_key() {
            Some(first) => {
                self.override_by(&keys::REDIS_URL, first);
                let error = "must be the name or the IP address of one machine, nothing else";
                (self.address_from_keys(), &keys::REDIS_HOST, Some(error))
            }
            None => {
                let url = self.optional(&keys::REDIS_URL).unwrap_or_default();
                (url, &keys::REDIS_URL, None)
            }
        };
        let address = Address::parse(&url)
            .map_err(|text| self.problem(key, error.unwrap_or(text)))
            .ok();
        Redis {
            url: url.into(),
            // An invalid address does not show whether the connection is encrypted.
            tls: address.as_ref().and_then(|address| self.tls_files(address)),
            display: address.map_or_else(String::new, |address| address.display),
        }
    }

    /// Returns the first address key that is set, if the address keys override `redis.url`.
    fn first_address_key(&mut self) -> Option<&'static Key> {
        let url = self.get(&keys::REDIS_URL).source;
        if layer(&url) == 0 {
            let is_set = |key: &&Key| !self.get(key).value.is_null();
            return ADDRESS_KEYS.into_iter().find(is_set);
        }
        let conflict = format!("cannot be combined with redis.url ({url}): set one or the other");
        self.yield_to_url(&ADDRESS_KEYS, &conflict);
        None
    }

    /// Drops the values of keys that an address of a higher layer overrides, and reports the others.
    fn yield_to_url(&mut self, overridable: &[&'static Key], error: &str) {
        let url = self.get(&keys::REDIS_URL).source;
        for key in overridable {
            let setting = self.get(key);
            if setting.value.is_null() {
                continue;
            }
            if layer(&setting.source) < layer(&url) {
                self.override_by(key, &keys::REDIS_URL);
            } else {
                self.problem(key, error);
            }
        }
    }

    /// Returns the address that the keys make. An invalid host makes an invalid address.
    fn address_from_keys(&self) -> String {
        let scheme = match self.optional(&keys::REDIS_SSL) {
            Some(true) => "rediss",
            _ => "redis",
        };
        let text = |key| self.optional::<String>(key);
        let user = percent_encode(&text(&keys::REDIS_USERNAME).unwrap_or_default());
        let login = match text(&keys::REDIS_PASSWORD) {
            Some(password) => format!("{user}:{}@", percent_encode(&password)),
            None if user.is_empty() => user,
            None => format!("{user}@"),
        };
        let host = text(&keys::REDIS_HOST);
        let host = host.map_or_else(|| "127.0.0.1".to_owned(), |host| host_in_url(&host));
        let port: u64 = self.optional(&keys::REDIS_PORT).unwrap_or(6379);
        let db: u64 = self.optional(&keys::REDIS_DB).unwrap_or(0);
        format!("{scheme}://{login}{host}:{port}/{db}")
    }

    fn tls_files(&mut self, address: &Address) -> Option<TlsFiles> {
        if !address.encrypted {
            // The operator expects that the connection is encrypted.
            self.yield_to_url(
                &TLS_FILES,
                "needs an encrypted connection: redis.ssl: true or a rediss:// address",
            );
            return None;
        }
        let ca_certs = self.optional(&keys::REDIS_SSL_CA_CERTS);
        let certfile = self.optional(&keys::REDIS_SSL_CERTFILE);
        let keyfile = self.optional(&keys::REDIS_SSL_KEYFILE);
        let client = match (certfile, keyfile) {
            (Some(certfile), Some(keyfile)) => Some(ClientFiles { certfile, keyfile }),
            (None, None) => None,
            (Some(_), None) => {
                self.problem(&keys::REDIS_SSL_CERTFILE, "requires redis.ssl_keyfile");
                None
            }
            (None, Some(_)) => {
                self.problem(&keys::REDIS_SSL_KEYFILE, "requires redis.ssl_certfile");
                None
            }
        };
        (ca_certs.is_some() || client.is_some()).then_some(TlsFiles { ca_certs, client })
    }
}

/// A parsed address.
struct Address {
    encrypted: bool,
    display: String,
}

impl Address {
    /// Parses an address.
    ///
    /// # Errors
    ///
    /// Returns what the address must be, without quoting it.
    fn parse(url: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "must be an address such as redis://127.0.0.1:6379/0, \
            rediss://host:6379/0 or unix:///path?db=0; in a user name or password \
            write % / : @ ? # as %25 %2F %3A %40 %3F %23";
        let mut url = redis::parse_redis_url(url).ok_or(WRONG)?;
        if url.fragment().is_some() {
            return Err("must not have a part after #: #insecure is not supported, \
                and in a password # is written as %23");
        }
        let info = url.clone().into_connection_info().map_err(|_| WRONG)?;
        if info.redis_settings().db() < 0 {
            return Err(WRONG);
        }
        if url.password().is_some() {
            url.set_password(Some(MASK)).map_err(|()| WRONG)?;
        }
        if url.query().is_some() {
            let masked: Vec<_> = url.query_pairs().map(masked_option).collect();
            url.query_pairs_mut().clear().extend_pairs(masked);
        }
        Ok(Self {
            encrypted: matches!(info.addr(), ConnectionAddr::TcpTls { .. }),
            display: url.into(),
        })
    }
}

/// Masks an option of an address, unless it is known not to be secret. The password for a unix
/// socket is an option.
fn masked_option((name, value): (Cow<'_, str>, Cow<'_, str>)) -> (String, String) {
    let value = match name.as_ref() {
        "db" | "user" | "protocol" => value.into_owned(),
        _ => MASK.to_owned(),
    };
    (name.into_owned(), value)
}

/// Returns a host as it is written in an address. An invalid host becomes empty, so that it cannot
/// extend into other parts of the address, such as the login.
fn host_in_url(host: &str) -> String {
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return format!("[{address}]");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let host = if host.chars().all(plain) { host } else { "" };
    host.to_owned()
}

/// Encodes all bytes as `%XX`, except for the unreserved characters of RFC 3986.
fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}
