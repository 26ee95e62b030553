//! The client's address behind proxies: for logs, statistics and failed sign-ins.
//!
//! Each proxy appends whom it was asked by to `X-Forwarded-For`, so the list is read from the right,
//! past the proxies that are trusted: what stands left of the first stranger is that stranger's word.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use http::header::HeaderName;

use crate::config::environment::Network;

/// Proxies whose `X-Forwarded-For` and `X-Real-IP` are believed.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// None means loopback and private addresses.
    networks: Option<Arc<[Network]>>,
}

impl Trusted {
    /// Believes proxies in these networks; without any, on loopback and private addresses.
    pub fn new(networks: Option<Vec<Network>>) -> Self {
        Self { networks: networks.map(Into::into) }
    }

    fn includes(&self, peer: IpAddr) -> bool {
        match (&self.networks, peer.to_canonical()) {
            (Some(networks), peer) => networks.iter().any(|network| network.contains(peer)),
            (None, IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
            (None, IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        }
    }

    /// The client's address: the nearest one that is no trusted proxy, as far as trusted proxies tell.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
        static REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
        if !self.includes(peer) {
            return peer;
        }
        if !headers.contains_key(&FORWARDED_FOR) {
            let told = headers.get(&REAL_IP).and_then(|value| value.to_str().ok());
            return told.and_then(address).unwrap_or(peer);
        }
        let mut nearest = peer;
        // Several lines are one list (RFC 9110 §5.3).
        for line in headers.get_all(&FORWARDED_FOR).iter().rev() {
            let Ok(line) = line.to_str() else { return nearest };
            for told in line.rsplit(',') {
                let Some(told) = address(told) else { return nearest };
                nearest = told;
                if !self.includes(told) {
                    return told;
                }
            }
        }
        nearest
    }
}

/// An address as proxies write it: some add the port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        lines.iter().map(header).collect()
    }

    fn client(trusted: &Trusted, peer: &str, lines: &[(&'static str, &'static str)]) -> String {
        trusted.client(peer.parse().unwrap(), &headers(lines)).to_string()
    }

    const FORWARDED: &str = "x-forwarded-for";

    #[test]
    fn a_private_peer_is_believed_and_a_public_one_is_not() {
        let trusted = Trusted::new(None);
        let lines = [(FORWARDED, "203.0.113.7, 10.0.0.1")];

        assert_eq!(client(&trusted, "10.0.0.9", &lines), "203.0.113.7");
        assert_eq!(client(&trusted, "198.51.100.1", &lines), "198.51.100.1");
    }

    #[test]
    fn configured_networks_replace_the_private_ones() {
        let trusted = Trusted::new(Network::parse("198.51.100.0/24").map(|network| vec![network]));
        let lines = [(FORWARDED, "203.0.113.7")];

        assert_eq!(client(&trusted, "198.51.100.200", &lines), "203.0.113.7");
        assert_eq!(client(&trusted, "198.51.101.1", &lines), "198.51.101.1");
        assert_eq!(client(&trusted, "10.0.0.9", &lines), "10.0.0.9");
    }

    #[test]
    fn what_a_client_writes_itself_does_not_count() {
        let trusted = Trusted::new(None);

        for lines in [
            &[(FORWARDED, "9.9.9.9, 203.0.113.7")][..],
            &[(FORWARDED, "9.9.9.9, 203.0.113.7, 10.0.0.1")],
            &[(FORWARDED, "9.9.9.9"), (FORWARDED, "203.0.113.7")],
            &[(FORWARDED, "garbage, 203.0.113.7"), ("x-real-ip", "9.9.9.9")],
        ] {
            assert_eq!(client(&trusted, "127.0.0.1", lines), "203.0.113.7", "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_list() {
        let trusted = Trusted::new(None);

        assert_eq!(client(&trusted, "127.0.0.1", &[(FORWARDED, "203.0.113.7, unknown")]), "127.0.0.1");
        assert_eq!(client(&trusted, "127.0.0.1", &[(FORWARDED, "8.8.8.8, x, 10.0.0.1")]), "10.0.0.1");
        assert_eq!(client(&trusted, "127.0.0.1", &[(FORWARDED, "")]), "127.0.0.1");
    }

    #[test]
    fn behind_trusted_proxies_alone_the_farthest_is_the_client() {
        let trusted = Trusted::new(None);

        assert_eq!(client(&trusted, "127.0.0.1", &[(FORWARDED, "10.0.0.5, 10.0.0.1")]), "10.0.0.5");
        assert_eq!(client(&trusted, "127.0.0.1", &[("x-real-ip", "203.0.113.7")]), "203.0.113.7");
        assert_eq!(client(&trusted, "127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn ports_and_brackets_are_no_part_of_an_address() {
        let trusted = Trusted::new(None);

        for (told, address) in [
            ("203.0.113.7:4711", "203.0.113.7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
        ] {
            assert_eq!(client(&trusted, "127.0.0.1", &[(FORWARDED, told)]), address, "{told}");
        }
    }
}
