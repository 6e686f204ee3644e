//! The URLs of proxies.
//!
//! Responsible for their grammar, with the credentials in them. Must not know where they are configured.

use windlass_core::credential::Secret;
use windlass_driver::Proxy;

use super::no_proxy::literal;

/// Converts a proxy's URL to the form `http://[user:password@]host:port`.
pub(super) fn parse(text: &str) -> Result<Proxy, &'static str> {
    let text = text.trim();
    let rest = match text.split_once("://") {
        None => text,
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some(_) => return Err("names an unsupported proxy"),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '\\']) {
        return Err("has more than a host and a port");
    }
    let (login, address) = match authority.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, authority),
    };
    let is_odd = |c: char| c.is_whitespace() || c.is_control();
    if login.is_some_and(|login| login.contains('@') || login.contains(is_odd)) {
        return Err("has a user name or password that is not percent-encoded");
    }
    let (host, port) = split_port(address)?;
    let login = login.map(|login| format!("{login}@")).unwrap_or_default();
    Ok(Proxy::new(format!("http://{login}{host}:{port}")))
}

fn split_port(address: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| "has no valid port")?)
        }
        // Go's default; curl's is 1080.
        _ => (address, 80),
    };
    let is_name = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    let is_ipv6 = host.starts_with('[') && literal(host).is_some();
    if port == 0 || !(is_name || is_ipv6) {
        return Err("has no valid host");
    }
    Ok((host, port))
}

/// The same proxy with these credentials, unless it has some.
pub(super) fn with_login(proxy: Proxy, login: &(String, Secret)) -> Proxy {
    let Some(address) = proxy.url.strip_prefix("http://") else {
        return proxy;
    };
    if address.contains('@') {
        return proxy;
    }
    // It goes to the proxy, in each request through it.
    let (user, password) = (encoded(&login.0), encoded(login.1.expose()));
    Proxy::new(format!("http://{user}:{password}@{address}"))
}

/// A text with everything percent-encoded but what may stand in any part of a URL (RFC 3986 §2.3).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
