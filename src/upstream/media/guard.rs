//! Connects to public addresses only.
//!
//! The rule is applied to the addresses that a connection is about to be made to, after the name
//! was resolved and by the resolver of that very connection: a name that is looked up once to be
//! checked and once more to be used may answer differently (DNS rebinding). An address in the URL
//! is never resolved, so it is looked at before.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};
use std::vec;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use layers::ports::BoxFuture;
use tower::Service;

use super::super::connector::{BoxError, CONNECT, Step, dial};
use super::super::line::Line;
use crate::config::environment::Network;

/// A test of which addresses may be connected to.
pub(super) type Rule = fn(IpAddr) -> bool;

/// A connector that refuses the addresses which its rule refuses.
#[derive(Clone)]
pub(super) struct Guarded {
    tcp: HttpConnector<Screen<GaiResolver>>,
    rule: Rule,
}

/// A resolver that keeps back the addresses which its rule refuses.
#[derive(Clone)]
struct Screen<R> {
    resolver: R,
    rule: Rule,
}

/// A refusal: nothing that the rule lets through was there to connect to.
#[derive(Debug, thiserror::Error)]
#[error("the address is not public")]
pub(super) struct Private;

// === impl Guarded ===

impl Guarded {
    pub(super) fn new(rule: Rule) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Screen { resolver: GaiResolver::new(), rule });
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        Self { tcp, rule }
    }
}

impl Service<Uri> for Guarded {
    type Response = Line;
    type Error = BoxError;
    type Future = BoxFuture<Result<Line, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tcp = self.tcp.clone();
        let refused = literal(&uri).is_some_and(|address| !(self.rule)(address));
        Box::pin(async move {
            if refused {
                return Err(Private.into());
            }
            tokio::time::timeout(CONNECT, dial(tcp, uri, false, &Step::default())).await?
        })
    }
}

/// The address in a URL, where it holds one rather than a name. Read as the connector reads it;
/// other spellings, such as `0x7f.1`, are names to it and go through the resolver.
fn literal(uri: &Uri) -> Option<IpAddr> {
    let host = uri.host()?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

// === impl Screen ===

impl<R> Service<Name> for Screen<R>
where
    R: Service<Name, Response: Iterator<Item = SocketAddr>, Error: Into<BoxError>, Future: Send + 'static>,
{
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.resolver.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (resolving, rule) = (self.resolver.call(name), self.rule);
        Box::pin(async move {
            let mut found: Vec<SocketAddr> = resolving.await.map_err(Into::into)?.collect();
            let any = !found.is_empty();
            found.retain(|address| rule(address.ip()));
            if any && found.is_empty() {
                return Err(Private.into());
            }
            Ok(found.into_iter())
        })
    }
}

/// Ranges of IPv4 that are not, or not surely, somebody's place on the internet
/// (IANA IPv4 Special-Purpose Address Registry).
const SPECIAL_V4: [Network; 16] = [
    v4([0, 0, 0, 0], 8),        // this network, and unspecified
    v4([10, 0, 0, 0], 8),       // private
    v4([100, 64, 0, 0], 10),    // behind a carrier's NAT; Alibaba's metadata
    v4([127, 0, 0, 0], 8),      // loopback
    v4([168, 63, 129, 16], 32), // public by its number, but Azure's platform to every machine there
    v4([169, 254, 0, 0], 16),   // link-local; the metadata of most clouds
    v4([172, 16, 0, 0], 12),    // private
    v4([192, 0, 0, 0], 24),     // protocol assignments; Oracle's metadata
    v4([192, 0, 2, 0], 24),     // documentation
    v4([192, 88, 99, 0], 24),   // relays of 6to4
    v4([192, 168, 0, 0], 16),   // private
    v4([198, 18, 0, 0], 15),    // benchmarks
    v4([198, 51, 100, 0], 24),  // documentation
    v4([203, 0, 113, 0], 24),   // documentation
    v4([224, 0, 0, 0], 4),      // multicast
    v4([240, 0, 0, 0], 4),      // reserved, and broadcast
];

/// The one range of IPv6 from which public addresses are given out. Everything beside it is local,
/// multicast, or not in use: loopback, unspecified, `fc00::/7`, `fe80::/10`, `fec0::/10`, `ff00::/8`.
const GLOBAL_V6: Network = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// What is no public place within it (IANA IPv6 Special-Purpose Address Registry).
const SPECIAL_V6: [Network; 3] = [
    // Protocol assignments, Teredo among them, which carries an IPv4 address in disguise.
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),     // documentation
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Network {
    Network { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> Network {
    Network { address: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix }
}

/// Whether an address is one of the public internet. Forms of IPv6 that a gateway on the way turns
/// into IPv4 are judged by the IPv4 address in them.
pub(super) fn is_public(address: IpAddr) -> bool {
    let address = match address {
        IpAddr::V6(whole) => carried(whole).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    let within = |ranges: &[Network]| ranges.iter().any(|range| range.contains(address));
    match address {
        IpAddr::V4(_) => !within(&SPECIAL_V4),
        IpAddr::V6(_) => GLOBAL_V6.contains(address) && !within(&SPECIAL_V6),
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped, NAT64 by its well-known prefix
/// (RFC 6052), which is how machines without IPv4 reach it, and 6to4 (RFC 3056).
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let bits = match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => u32::from(g) << 16 | u32::from(h),
        [0x2002, ..] => u32::from(b) << 16 | u32::from(c),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(bits))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, ready};

    use super::*;

    /// A resolver that knows one answer.
    #[derive(Clone)]
    struct Answering(Vec<SocketAddr>);

    impl Service<Name> for Answering {
        type Response = vec::IntoIter<SocketAddr>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _name: Name) -> Self::Future {
            ready(Ok(self.0.clone().into_iter()))
        }
    }

    fn screen(rule: Rule, answers: &[&str]) -> Screen<Answering> {
        let answers = answers.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0));
        Screen { resolver: Answering(answers.collect()), rule }
    }

    async fn resolved(mut screen: Screen<Answering>) -> Result<Vec<String>, BoxError> {
        let found = screen.call("rebound.example".parse().unwrap()).await?;
        Ok(found.map(|address| address.ip().to_string()).collect())
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:db7::1",
            "2606:4700:4700::1111",
            "2a00:1450:4001::64",
            "3ffe:ffff::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn addresses_of_other_networks_are_not_public() {
        for address in [
            // Unspecified, and this network.
            "0.0.0.0",
            "0.1.2.3",
            "::",
            // Loopback.
            "127.0.0.1",
            "127.255.255.254",
            "::1",
            // Private, unique-local, site-local.
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "fc00::1",
            "fd12:3456::1",
            "fdff:ffff::1",
            "fec0::1",
            // Behind a carrier's NAT.
            "100.64.0.1",
            "100.127.255.255",
            // Link-local.
            "169.254.0.1",
            "fe80::1",
            "febf::1",
            // Clouds about their machines.
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            // Protocols, benchmarks, documentation.
            "192.0.0.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "5f00::1",
            // Multicast, reserved, broadcast.
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "ff02::1",
            // IPv4 in the clothes of IPv6: mapped, compatible, translated, NAT64, 6to4, Teredo.
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2002:c0a8:1::1",
            "2001:0:4136:e378:8000:63bf:f5ff:fffe",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn private_addresses_of_a_name_are_kept_back() {
        let mixed = screen(is_public, &["10.0.0.1", "1.1.1.1", "::1", "2606:4700:4700::1111"]);

        let found = resolved(mixed).await.unwrap();

        assert_eq!(found, ["1.1.1.1", "2606:4700:4700::1111"]);
    }

    #[tokio::test]
    async fn a_name_with_private_addresses_alone_is_refused() {
        let error = resolved(screen(is_public, &["127.0.0.1", "fe80::1"])).await.unwrap_err();

        assert!(error.is::<Private>(), "{error}");
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_not_called_private() {
        assert_eq!(resolved(screen(is_public, &[])).await.unwrap(), [""; 0]);
    }

    #[tokio::test]
    async fn a_lifted_rule_keeps_nothing_back() {
        assert_eq!(
            resolved(screen(|_any| true, &["127.0.0.1", "1.1.1.1"])).await.unwrap(),
            ["127.0.0.1", "1.1.1.1"]
        );
    }

    #[test]
    fn an_address_in_a_url_is_found_in_brackets_too() {
        for (url, found) in [
            ("http://127.0.0.1:80/x", Some("127.0.0.1")),
            ("https://[::1]/", Some("::1")),
            ("http://[::ffff:7f00:1]:8080/", Some("::ffff:127.0.0.1")),
            ("http://localhost/", None),
        ] {
            let wanted = found.map(|address| address.parse::<IpAddr>().unwrap());
            assert_eq!(literal(&url.parse().unwrap()), wanted, "{url}");
        }
    }
}
