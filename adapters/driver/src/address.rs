//! Which addresses may be connected to.
//!
//! A service that fetches what its users name must not be led to hosts that only it can reach: its own
//! network, or a cloud's metadata. Names are judged by the core; what a name resolves to is known to the
//! driver only. Responsible for that judgement, the same in all drivers. Must not know how a name is
//! resolved.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use windlass_core::Origin;
use windlass_core::call::{TransportError, TransportErrorKind};

type Judge = dyn Fn(&str, SocketAddr) -> Result<(), String> + Send + Sync;

/// Decides which addresses connections are made to. By default, to all.
///
/// It is asked for each address of each host that a client connects to: registries, token services,
/// storage that a redirect leads to, and hosts of foreign layers; whether the host is a name or an
/// address. Connections to a proxy are not judged, nor is what a proxy connects to.
///
/// ```
/// use windlass_driver::AddressGuard;
///
/// // What the network of a service looks like is known to its operator.
/// let guard = AddressGuard::new(|host, address| match address.ip().to_string().as_str() {
///     ip if ip.starts_with("198.51.100.") => Err(format!("{host} is one of our own")),
///     _ => Ok(()),
/// });
/// assert!(guard.allowed("reg.example", vec!["192.0.2.1:443".parse()?]).is_ok());
/// assert!(guard.allowed("reg.example", vec!["198.51.100.7:443".parse()?]).is_err());
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Default)]
pub struct AddressGuard(Option<Arc<Judge>>);

impl AddressGuard {
    /// Connects only to addresses for which `judge` returns `Ok`. It is given the host (a name, or an
    /// address without brackets) and an address of it. The text of an `Err` becomes part of the error.
    pub fn new(
        judge: impl Fn(&str, SocketAddr) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(judge)))
    }

    /// Connects only to public addresses: not to loopback, private, link-local, shared, multicast and
    /// reserved ones, nor to IPv6 addresses that carry such an IPv4 address.
    pub fn public_only() -> Self {
        Self::new(|_, address| match is_public(address.ip()) {
            true => Ok(()),
            false => Err("it is not a public address".to_owned()),
        })
    }

    /// Whether there is anything to ask.
    pub const fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Those of a host's addresses that may be connected to.
    ///
    /// # Errors
    ///
    /// If there are addresses and none may be: [`TransportErrorKind::Forbidden`], which names the host and
    /// the first of them.
    pub fn allowed(
        &self,
        host: &str,
        addresses: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, TransportError> {
        let Some(judge) = &self.0 else {
            return Ok(addresses);
        };
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in addresses {
            match judge(host, address) {
                Ok(()) => allowed.push(address),
                Err(why) => {
                    refused.get_or_insert((address, why));
                }
            }
        }
        match refused {
            Some((address, why)) if allowed.is_empty() => {
                let detail = format!("{host} is at {}: {why}", address.ip());
                Err(TransportError::new(TransportErrorKind::Forbidden, detail))
            }
            Some(_) | None => Ok(allowed),
        }
    }

    /// The same for a host that may be an address; a name is judged when it is resolved.
    ///
    /// # Errors
    ///
    /// If it is an address that may not be connected to.
    pub fn check_literal(&self, host: &str, port: u16) -> Result<(), TransportError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(ip) => self
                .allowed(bare, vec![SocketAddr::new(ip, port)])
                .map(drop),
            Err(_) => Ok(()),
        }
    }
}

impl fmt::Debug for AddressGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() {
            "AddressGuard(set)"
        } else {
            "AddressGuard(none)"
        })
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// What the core calls private, and what the registry of special addresses (RFC 6890) does not route.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_special = match address.octets() {
        // Protocol assignments, and networks that measure devices.
        [192, 0, 0, _] | [198, 18 | 19, ..] => true,
        [first, ..] => first >= 224,
    };
    !is_special && !is_private(&address.to_string())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    let carried = match segments {
        // Mapped, translated (RFC 2765), and behind a NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        // 6to4.
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    };
    let is_site_local = segments[0] & 0xffc0 == 0xfec0;
    // A NAT64 of the network's own (RFC 8215) may lead into it.
    let is_local_nat64 = matches!(segments, [0x64, 0xff9b, 1, ..]);
    !address.is_multicast()
        && !is_site_local
        && !is_local_nat64
        && carried.is_none_or(is_public_v4)
        && !is_private(&format!("[{address}]"))
}

fn is_private(host: &str) -> bool {
    let origin = format!("https://{host}").parse::<Origin>();
    origin.is_ok_and(|origin| origin.is_private())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        let port = |text: &&str| SocketAddr::new(text.parse().expect("an address"), 443);
        texts.iter().map(port).collect()
    }

    #[test]
    fn public_addresses_only() {
        let guard = AddressGuard::public_only();
        for ip in [
            "192.0.2.1",
            "8.8.8.8",
            "172.32.0.1",
            "198.20.0.1",
            "192.0.1.1",
            "2002:808:808::1",
            "64:ff9b::808:808",
            "2001:db8::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(guard.allowed("h", addresses(&[ip])).is_ok(), "{ip}");
        }
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "::ffff:0:a00:1",
            "2002:a9fe:a9fe::1",
            "fec0::1",
            "192.0.0.8",
            "198.18.0.1",
            "198.19.255.255",
        ] {
            let error = guard.allowed("meta.example", addresses(&[ip]));
            let error = error.expect_err(ip);
            assert_eq!(error.kind, TransportErrorKind::Forbidden);
            let parsed: IpAddr = ip.parse().expect("an address");
            let expected = format!("meta.example is at {parsed}: it is not a public address");
            assert_eq!(error.detail, expected);
            assert!(guard.check_literal(ip, 443).is_err(), "{ip}");
        }
        assert!(guard.check_literal("[::1]", 443).is_err());
        assert!(
            guard.check_literal("localhost", 443).is_ok(),
            "it is resolved later"
        );
    }

    /// A name with public and private addresses is reached at the public ones.
    #[test]
    fn allowed_addresses_are_left() {
        let guard = AddressGuard::public_only();
        let both = addresses(&["10.0.0.1", "8.8.8.8", "::1"]);
        assert_eq!(guard.allowed("h", both), Ok(addresses(&["8.8.8.8"])));
        assert_eq!(guard.allowed("h", Vec::new()), Ok(Vec::new()));
        let none = AddressGuard::default();
        let private = addresses(&["10.0.0.1"]);
        assert_eq!(none.allowed("h", private.clone()), Ok(private));
        assert!(none.check_literal("::1", 443).is_ok());
    }
}
