//! How to reach Redis: one address, or the pieces Platypush has in its own
//! configuration.
//!
//! Which of the two: the one given in the higher layer, where pieces and
//! address in one layer contradict each other. So do pieces above an address:
//! somebody who sets `PLATYPUSH_USERD_REDIS__PASSWORD` wants to complete the
//! file's address, and silently connecting somewhere else would be a bad
//! surprise. The default address gives way to anything.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use redis::{ConnectionAddr, IntoConnectionInfo as _};
use secrecy::SecretString;

use super::check::Checker;
use super::keys::{self, Key};
use super::problem::Place;

/// How to reach Redis.
#[derive(Debug, Clone)]
pub struct Redis {
    /// The address, in the form the `redis` crate takes. It may hold a
    /// password.
    pub url: SecretString,
    /// The files for an encrypted connection, where any are given; then the
    /// address is a `rediss://` one.
    pub tls: Option<TlsFiles>,
    display: String,
}

impl Redis {
    /// The address for people: `***` stands for a password.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }
}

/// Files for an encrypted connection (PEM), at least one. They are not read
/// here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that may vouch for the server; none: the system's.
    pub ca_certs: Option<PathBuf>,
    /// The client's own certificate and its key.
    pub client: Option<ClientFiles>,
}

/// What the daemon identifies itself with to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// Its certificate.
    pub certfile: PathBuf,
    /// The private key of it.
    pub keyfile: PathBuf,
}

/// The keys that are an address when put together.
static PIECES: [&Key; 6] = [
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

/// The layers in the order they are laid upon each other.
const fn layer(place: &Place) -> u8 {
    match place {
        Place::Default | Place::Computed(_) => 0,
        Place::File { .. } => 1,
        Place::Variable(_) => 2,
    }
}

impl Checker<'_> {
    /// The whole section.
    pub(super) fn redis(&mut self) -> Redis {
        // But for the host, pieces are encoded or numbers: what is wrong with
        // an address made of them is wrong with the host.
        let (url, key, wrong) = match self.first_piece() {
            Some(first) => {
                self.settings.set_aside(&keys::REDIS_URL, first);
                let wrong = "must be the name or the IP address of one machine, nothing else";
                (self.address_of_pieces(), &keys::REDIS_HOST, Some(wrong))
            }
            None => {
                let url = self.optional_text(&keys::REDIS_URL);
                (url.unwrap_or_default(), &keys::REDIS_URL, None)
            }
        };
        let address = Address::parse(&url)
            .map_err(|text| self.problem(key, wrong.unwrap_or(text)))
            .ok();
        Redis {
            url: url.into(),
            // Of a wrong address nobody knows whether it was to be encrypted.
            tls: address.as_ref().and_then(|known| self.tls_files(known)),
            display: address.map_or_else(String::new, |known| known.display),
        }
    }

    /// The first piece, if pieces are what counts and not the address.
    fn first_piece(&mut self) -> Option<&'static Key> {
        let url = self.settings.get(&keys::REDIS_URL).place;
        let mut first = None;
        for key in PIECES {
            let piece = self.settings.get(key);
            if piece.value.is_none() {
                continue;
            }
            if layer(&url) == 0 {
                first.get_or_insert(key);
            } else if layer(&piece.place) < layer(&url) {
                self.settings.set_aside(key, &keys::REDIS_URL);
            } else {
                let text = format!("cannot stand beside redis.url ({url}): give one or the other");
                self.problem(key, &text);
            }
        }
        first
    }

    /// The address the pieces make. A host that is none makes no address.
    fn address_of_pieces(&self) -> String {
        let scheme = match self.optional_boolean(&keys::REDIS_SSL) {
            Some(true) => "rediss",
            _ => "redis",
        };
        let user = self.optional_text(&keys::REDIS_USERNAME);
        let user = percent_encode(&user.unwrap_or_default());
        let login = match self.optional_text(&keys::REDIS_PASSWORD) {
            Some(password) => format!("{user}:{}@", percent_encode(&password)),
            None if user.is_empty() => user,
            None => format!("{user}@"),
        };
        let host = self.optional_text(&keys::REDIS_HOST);
        let host = host.map_or_else(|| "127.0.0.1".to_owned(), |host| host_in_url(&host));
        let port = self.optional_integer(&keys::REDIS_PORT).unwrap_or(6379);
        let db = self.optional_integer(&keys::REDIS_DB).unwrap_or(0);
        format!("{scheme}://{login}{host}:{port}/{db}")
    }

    fn tls_files(&mut self, address: &Address) -> Option<TlsFiles> {
        if !address.encrypted {
            self.refuse_tls_files();
            return None;
        }
        let path = |key| self.optional_text(key).map(PathBuf::from);
        let ca_certs = path(&keys::REDIS_SSL_CA_CERTS);
        let certfile = path(&keys::REDIS_SSL_CERTFILE);
        let keyfile = path(&keys::REDIS_SSL_KEYFILE);
        let client = match (certfile, keyfile) {
            (Some(certfile), Some(keyfile)) => Some(ClientFiles { certfile, keyfile }),
            (None, None) => None,
            (Some(_), None) => {
                self.problem(&keys::REDIS_SSL_CERTFILE, "needs redis.ssl_keyfile too");
                None
            }
            (None, Some(_)) => {
                self.problem(&keys::REDIS_SSL_KEYFILE, "needs redis.ssl_certfile too");
                None
            }
        };
        (ca_certs.is_some() || client.is_some()).then_some(TlsFiles { ca_certs, client })
    }

    /// Files for an encrypted connection, and the connection is not: somebody
    /// believes that it is. An address from a higher layer may mean it so.
    fn refuse_tls_files(&mut self) {
        let url = self.settings.get(&keys::REDIS_URL).place;
        for key in TLS_FILES {
            let file = self.settings.get(key);
            if file.value.is_none() {
                continue;
            }
            if layer(&file.place) < layer(&url) {
                self.settings.set_aside(key, &keys::REDIS_URL);
            } else {
                self.problem(
                    key,
                    "needs an encrypted connection: redis.ssl: true or a rediss:// address",
                );
            }
        }
    }
}

/// What is known of an address that parses.
struct Address {
    encrypted: bool,
    display: String,
}

impl Address {
    /// # Errors
    ///
    /// What the address must be instead; it is not quoted.
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

/// Shows an option of an address if it is known not to be secret; a unix
/// socket's password is one of the others.
fn masked_option((name, value): (Cow<'_, str>, Cow<'_, str>)) -> (String, String) {
    let value = match name.as_ref() {
        "db" | "user" | "protocol" => value.into_owned(),
        _ => MASK.to_owned(),
    };
    (name.into_owned(), value)
}

/// A host as it stands in an address. What is not a host becomes empty, so that
/// it can neither move the end of the host nor smuggle in a login.
fn host_in_url(host: &str) -> String {
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return format!("[{address}]");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let host = if host.chars().all(plain) { host } else { "" };
    host.to_owned()
}

/// Everything but RFC 3986's unreserved characters as `%XX`.
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
