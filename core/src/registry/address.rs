//! Hosts: which ones are literal addresses, and of which networks.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::Write as _;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Whether `host` is valid in an origin: a name, an IPv4 address, or an IPv6 address in brackets.
///
/// Wider than a registry's host: container names may have underscores.
pub(super) fn is_host(host: &str) -> bool {
    if host.starts_with('[') {
        return ipv6(host).is_some();
    }
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_inner);
    host.len() <= 255
        && host
            .strip_suffix('.')
            .unwrap_or(host)
            .split('.')
            .all(is_label)
}

/// The canonical spelling of `host`: lower case, IPv6 shortened.
pub(super) fn canonical(host: &str) -> Arc<str> {
    let mut text = String::new();
    match ipv6(host) {
        Some(address) => write!(text, "[{address}]").expect("writing to a string cannot fail"),
        None => text = host.to_ascii_lowercase(),
    }
    text.into()
}

/// The IPv6 address in brackets.
pub(super) fn ipv6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Accepts canonical spellings only, because it grants a permission.
pub(super) fn is_loopback(host: &str) -> bool {
    let is_v4 = || {
        host.parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
    };
    let is_v6 = || ipv6(host).is_some_and(|address| address.is_loopback());
    is_localhost(host) || is_v4() || is_v6()
}

/// Accepts every spelling, because it denies a permission.
pub(super) fn is_private(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    if let Some(address) = ipv6(host) {
        return is_private_v6(address);
    }
    // Some resolvers read a leading zero as octal, others ignore it.
    let mut readings = [true, false]
        .into_iter()
        .filter_map(|octal| loose_ipv4(host, octal));
    is_localhost(host) || readings.any(is_private_v4)
}

/// Whether both hosts are canonical addresses in the same kind of non-public network. It grants a
/// permission, so other spellings do not count.
pub(super) fn is_beside(host: &str, other: &str) -> bool {
    network(host).is_some() && network(host) == network(other)
}

#[derive(Eq, PartialEq)]
enum Network {
    Loopback,
    LinkLocal,
    Private,
}

fn network(host: &str) -> Option<Network> {
    if is_loopback(host) {
        return Some(Network::Loopback);
    }
    let (is_private, is_link_local) = match (ipv6(host), host.parse::<Ipv4Addr>()) {
        (Some(address), _) => (
            address.segments()[0] & 0xfe00 == 0xfc00,
            address.segments()[0] & 0xffc0 == 0xfe80,
        ),
        (None, Ok(address)) => (address.is_private(), address.is_link_local()),
        (None, Err(_)) => (false, false),
    };
    match (is_private, is_link_local) {
        (true, _) => Some(Network::Private),
        (false, true) => Some(Network::LinkLocal),
        (false, false) => None,
    }
}

fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

const fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let is_shared = first == 100 && second & 0b1100_0000 == 64;
    first == 0
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || is_shared
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let first = segments[0];
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    let is_link_local = first & 0xffc0 == 0xfe80;
    let is_unique_local = first & 0xfe00 == 0xfc00;
    // The last four bytes are an IPv4 address: mapped, compatible, or behind a NAT64 (RFC 6052).
    let carries_v4 = matches!(
        segments,
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..]
    );
    let [.., a, b, c, d] = address.octets();
    is_link_local || is_unique_local || (carries_v4 && is_private_v4(Ipv4Addr::new(a, b, c, d)))
}

/// What `inet_aton` accepts: one to four numbers, decimal, octal or hexadecimal; the last one fills
/// the rest.
fn loose_ipv4(host: &str, octal: bool) -> Option<Ipv4Addr> {
    let mut numbers = [0u32; 4];
    let mut count = 0;
    for part in host.split('.') {
        *numbers.get_mut(count)? = loose_number(part, octal)?;
        count += 1;
    }
    let last = numbers[count - 1];
    let room = 32 - 8 * (u32::try_from(count).ok()? - 1);
    if room < 32 && last >> room != 0 {
        return None;
    }
    let mut address = last;
    for (index, number) in numbers[..count - 1].iter().enumerate() {
        let byte = u8::try_from(*number).ok()?;
        address |= u32::from(byte) << (24 - 8 * index);
    }
    Some(Ipv4Addr::from(address))
}

fn loose_number(text: &str, octal: bool) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    match text.strip_prefix("0x") {
        Some("") => Some(0),
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if octal && text.len() > 1 && text.starts_with('0') => {
            u32::from_str_radix(text, 8).ok()
        }
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_hosts_in_every_spelling() {
        for host in [
            "localhost",
            "a.localhost",
            "localhost.",
            "127.0.0.1",
            "127.1",
            "127.255.255.254",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "017700000001",
            "10.0.0.1",
            "10.1",
            "010.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.168.257",
            "169.254.169.254",
            "169.254.169.254.",
            "0xa9fea9fe",
            "0.0.0.0",
            "0",
            "0x",
            "100.64.0.1",
            "100.127.255.255",
            "[::]",
            "[::1]",
            "[fe80::1]",
            "[febf::1]",
            "[fc00::1]",
            "[fdff::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a00:1]",
            "[::7f00:1]",
            "[64:ff9b::a9fe:a9fe]",
        ] {
            assert!(is_host(host), "{host} is a host");
            assert!(is_private(host), "SEC-08 {host}");
        }
        for host in [
            "example.com",
            "localhost.example",
            "notlocalhost",
            "8.8.8.8",
            "134744072",
            "172.32.0.1",
            "172.15.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "169.253.0.1",
            "1.2.3.4.5",
            "256.0.0.1",
            "10.example",
            "0x7g.1",
            "[2001:db8::1]",
            "[::ffff:8.8.8.8]",
            "[fec0::1]",
            "4294967296",
        ] {
            assert!(is_host(host), "{host} is a host");
            assert!(!is_private(host), "SEC-08 {host}");
        }
    }

    #[test]
    fn loopback_in_plain_spelling_only() {
        for host in [
            "localhost",
            "reg.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "127.1",
            "2130706433",
            "0.0.0.0",
            "[::]",
            "10.0.0.1",
            "localhost.example",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
