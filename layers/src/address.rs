//! The addresses of a target: where its requests go, computed when the configuration is compiled.
//!
//! Some upstreams have the model or the mode in the path, so an address belongs to a target, an
//! endpoint and a mode. There are few of them and requests are many: `dispatch` finds the finished
//! URL here and clones it.

use std::sync::Arc;

use http::uri::Scheme;
use http::{HeaderValue, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::endpoint::{ENDPOINTS, Endpoint};
use crate::ports::{Provider, Unsupported, Wanted};

/// What stands in the address of a provider's objects where the name of one is to stand: `{id}`, as a URL has it.
pub const OBJECT: &str = "%7Bid%7D";

/// Everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A URL, with its `host` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The absolute URL.
    pub uri: Uri,
    /// Its `host` (RFC 9110 §7.2), kept because the client would write it anew for each request.
    pub host: HeaderValue,
}

/// The addresses of one target. Clones share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(Arc<[Row]>);

/// The address for one endpoint.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    endpoint: &'static Endpoint,
    /// For streams only, or for whole answers only; none for both.
    stream: Option<bool>,
    address: Address,
}

// === impl Address ===

impl Address {
    /// The address of a request.
    ///
    /// # Errors
    /// Why the provider does not take it.
    pub fn of(provider: &dyn Provider, wanted: Wanted<'_>) -> Result<Self, Unsupported> {
        let uri = provider.address(wanted)?;
        Self::at(uri).ok_or_else(|| Unsupported("its address names no host".into()))
    }

    /// The same for an object of this name, where the address is one of objects, with the client's query behind it.
    /// None for a name that could choose another path, whoever decodes it and how often.
    pub fn of_object(&self, id: &str, query: &str) -> Option<Self> {
        if id.contains(['%', '\\', '/']) || id.chars().any(char::is_control) || matches!(id, "" | "." | "..")
        {
            return None;
        }
        let id = utf8_percent_encode(id, ENCODED).to_string();
        let path = self.uri.path().replace(OBJECT, &id);
        let queries = [self.uri.query().unwrap_or_default(), query];
        let queries: Vec<&str> = queries.into_iter().filter(|query| !query.is_empty()).collect();
        let target = if queries.is_empty() { path } else { format!("{path}?{}", queries.join("&")) };
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(target.parse().ok()?);
        Some(Self { uri: Uri::from_parts(parts).ok()?, host: self.host.clone() })
    }

    /// The URL as a log may have it: without credentials and query.
    pub fn bare(&self) -> String {
        bare(&self.uri)
    }

    /// This URL; none without a host.
    pub fn at(uri: Uri) -> Option<Self> {
        Some(Self { host: host(&uri)?, uri })
    }
}

/// A URL as a log may have it: without credentials and query.
pub fn bare(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{}://{host}{}", uri.scheme_str().unwrap_or_default(), uri.path())
}

/// The `host` of a URL; HTTP/2 has a pseudo-header instead.
fn host(uri: &Uri) -> Option<HeaderValue> {
    let usual = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let host = uri.host()?;
    match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => HeaderValue::try_from(format!("{host}:{port}")).ok(),
        None => HeaderValue::try_from(host).ok(),
    }
}

// === impl Addresses ===

impl Addresses {
    /// The addresses of all endpoints that the provider serves for a model, in this place of it.
    pub fn of(provider: &dyn Provider, model: &str, place: Option<&str>) -> Self {
        let of = |endpoint: &'static Endpoint, stream| {
            Address::of(provider, Wanted { endpoint, model, place, stream })
        };
        let mut rows = Vec::new();
        for &endpoint in ENDPOINTS {
            let mut add = |stream, address| rows.push(Row { endpoint, stream, address });
            match (of(endpoint, false).ok(), of(endpoint, true).ok()) {
                (Some(whole), Some(stream)) if whole == stream => add(None, whole),
                (whole, stream) => {
                    whole.into_iter().for_each(|address| add(Some(false), address));
                    stream.into_iter().for_each(|address| add(Some(true), address));
                }
            }
        }
        Self(rows.into())
    }

    /// The address for this endpoint and mode, where the provider serves it.
    pub fn get(&self, endpoint: &'static Endpoint, stream: bool) -> Option<&Address> {
        let fits = |row: &&Row| {
            std::ptr::eq(row.endpoint, endpoint) && row.stream.is_none_or(|of_streams| of_streams == stream)
        };
        self.0.iter().find(fits).map(|row| &row.address)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::endpoint::{CHAT_COMPLETIONS, MODERATIONS};
    use crate::ports::Presented;

    /// An upstream that has model and mode in the path, and knows chat only.
    struct InPath(&'static str);

    impl Provider for InPath {
        fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported> {
            let Wanted { endpoint, model, stream, .. } = wanted;
            if endpoint != &CHAT_COMPLETIONS {
                return Err(Unsupported("chat only".into()));
            }
            let verb = if stream { "stream" } else { "ask" };
            Ok(format!("{}/{model}/{verb}", self.0).parse().unwrap())
        }

        fn sign(
            &self,
            _: &mut http::Request<Vec<Bytes>>,
            _: Option<&Presented<'_>>,
        ) -> Result<(), Unsupported> {
            Ok(())
        }
    }

    #[test]
    fn every_mode_has_the_address_that_the_provider_gives_it() {
        let addresses = Addresses::of(&InPath("https://a.test:8443"), "m", None);

        let uri = |stream| addresses.get(&CHAT_COMPLETIONS, stream).unwrap().uri.to_string();
        assert_eq!(uri(false), "https://a.test:8443/m/ask");
        assert_eq!(uri(true), "https://a.test:8443/m/stream");
        assert_eq!(addresses.get(&MODERATIONS, false), None);
    }

    #[test]
    fn a_url_for_the_log_has_neither_credentials_nor_query() {
        let address = Address::at("https://me:secret@a.test:8443/v1/x?key=secret".parse().unwrap()).unwrap();

        assert_eq!(address.bare(), "https://a.test:8443/v1/x");
    }

    #[test]
    fn the_host_names_a_port_where_it_is_not_the_usual_one() {
        for (base, host) in [
            ("https://a.test:8443", "a.test:8443"),
            ("https://a.test:443", "a.test"),
            ("http://a.test:443", "a.test:443"),
            ("http://[::1]:80", "[::1]"),
        ] {
            let addresses = Addresses::of(&InPath(base), "m", None);

            assert_eq!(addresses.get(&CHAT_COMPLETIONS, false).unwrap().host, host, "{base}");
        }
    }
}
