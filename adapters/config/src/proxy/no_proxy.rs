//! `NO_PROXY`: which hosts are reached directly.
//!
//! Responsible for the grammar of its entries, and for which of them covers a host. Must not know proxies.

use std::fmt;
use std::net::IpAddr;

/// An entry of `NO_PROXY`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Direct {
    Everything,
    /// `example.com` for it and its subdomains, `.example.com` for its subdomains only.
    Name {
        suffix: String,
        itself: bool,
        port: Option<u16>,
    },
    Address {
        address: IpAddr,
        port: Option<u16>,
    },
    Network {
        address: IpAddr,
        bits: u8,
    },
}

impl Direct {
    /// Whether it is for this host and port.
    pub(super) fn covers(&self, host: &str, port: u16) -> bool {
        let fits = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match self {
            Self::Everything => true,
            Self::Name {
                suffix,
                itself,
                port,
            } => {
                let host = host.trim_end_matches('.');
                let below = host
                    .strip_suffix(suffix)
                    .is_some_and(|rest| rest.ends_with('.'));
                fits(port) && (below || (*itself && host == suffix))
            }
            Self::Address { address, port } => fits(port) && literal(host) == Some(*address),
            Self::Network { address, bits } => {
                literal(host).is_some_and(|host| is_within(host, *address, *bits))
            }
        }
    }
}

impl fmt::Display for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = match self {
            Self::Everything => return f.write_str("*"),
            Self::Name {
                suffix,
                itself,
                port,
            } => {
                let dot = if *itself { "" } else { "." };
                write!(f, "{dot}{suffix}")?;
                port
            }
            Self::Address { address, port } => {
                write!(f, "{address}")?;
                port
            }
            Self::Network { address, bits } => return write!(f, "{address}/{bits}"),
        };
        match port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// The entries of a list, separated by commas or blanks.
pub(super) fn entries(list: &str) -> Vec<Direct> {
    list.split([',', ' ', '\t']).filter_map(entry).collect()
}

/// Parses an address; IPv6 may be in brackets.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    Some(bare.unwrap_or(host).parse::<IpAddr>().ok()?.to_canonical())
}

/// Whether the first bits of two addresses agree. 10.0.0.0/8 contains no IPv6 address.
fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (differing, width) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (u128::from(address.to_bits() ^ network.to_bits()), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits() ^ network.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let unread = u32::saturating_sub(width, u32::from(bits));
    differing.checked_shr(unread).unwrap_or(0) == 0
}

/// Parses an entry of `NO_PROXY`; `None` if empty.
fn entry(text: &str) -> Option<Direct> {
    let text = text.to_ascii_lowercase();
    if text == "*" {
        return Some(Direct::Everything);
    }
    if let Some(network) = text.split_once('/').and_then(|(address, bits)| {
        let address = literal(address)?;
        let bits: u8 = bits.parse().ok()?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        (bits <= widest).then_some(Direct::Network { address, bits })
    }) {
        return Some(network);
    }
    if let Some(address) = literal(&text) {
        let port = None;
        return Some(Direct::Address { address, port });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text.as_str(), None),
    };
    if let Some(address) = literal(host) {
        return Some(Direct::Address { address, port });
    }
    let host = host.trim_end_matches('.');
    let host = host.strip_prefix('*').unwrap_or(host);
    let suffix = host.strip_prefix('.').unwrap_or(host);
    if suffix.is_empty() {
        return None;
    }
    Some(Direct::Name {
        suffix: suffix.to_owned(),
        itself: suffix == host,
        port,
    })
}
