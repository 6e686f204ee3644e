//! Proxies from `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
//!
//! The rules are those of Go's `http/httpproxy`, which docker, podman and containerd use, plus
//! `ALL_PROXY` as in curl. One difference: an invalid value is an error when it is needed, where
//! others connect without the proxy.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use windlass_core::{Origin, Scheme};
use windlass_driver::{Proxy, ProxySelector};

use crate::{VariableError, set};

/// Decides which origins are reached through a proxy.
#[derive(Clone, Debug)]
pub struct Proxies {
    http: Named,
    https: Named,
    /// The entries of `NO_PROXY`. If it is invalid, no proxy's use is known.
    direct: Result<Vec<Direct>, ProxyError>,
}

/// The proxy for one scheme: none, this one, or an invalid one.
type Named = Result<Option<Proxy>, ProxyError>;

/// An entry of `NO_PROXY`.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Direct {
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

impl Proxies {
    /// The proxies of these variables. The upper-case name takes precedence over the lower-case
    /// one. `HTTP_PROXY` is ignored if `REQUEST_METHOD` is set, since in a CGI program the client
    /// of the request chose its value.
    ///
    /// A `NO_PROXY` entry is `*`, a host name (with its subdomains), `.name` or `*.name`
    /// (subdomains only), an address, each with or without a port, or a network such as
    /// `10.0.0.0/8`. `localhost` and loopback addresses are never reached through a proxy.
    ///
    /// An invalid or unsupported proxy matters only where it would be used: see
    /// [`check`](Self::check).
    pub fn from_variables(variables: impl Fn(&str) -> Option<OsString>) -> Self {
        let first = |names: &[&'static str]| -> Named {
            let found = first_set(&variables, names)?;
            found
                .map(|(variable, text)| parse(&text).map_err(|why| ProxyError { variable, why }))
                .transpose()
        };
        let all = first(&["ALL_PROXY", "all_proxy"]);
        let or_all = |named: Named| match named {
            Ok(None) => all.clone(),
            Ok(Some(_)) | Err(_) => named,
        };
        let is_cgi = variables("REQUEST_METHOD").is_some_and(|value| !value.is_empty());
        let http = first(if is_cgi {
            &["http_proxy"]
        } else {
            &["HTTP_PROXY", "http_proxy"]
        });
        let https = first(&["HTTPS_PROXY", "https_proxy"]);
        let direct = first_set(&variables, &["NO_PROXY", "no_proxy"]).map(|list| {
            let (_, list) = list.unwrap_or_default();
            list.split([',', ' ', '\t']).filter_map(entry).collect()
        });
        Self {
            http: or_all(http),
            https: or_all(https),
            direct,
        }
    }

    /// Checks that this origin can be reached: without a proxy, or through a valid one.
    ///
    /// # Errors
    ///
    /// If its proxy's URL is invalid or of an unsupported kind. The error does not contain the URL,
    /// which may hold a password.
    pub fn check(&self, origin: &Origin) -> Result<(), ProxyError> {
        self.for_origin(origin).map(drop)
    }

    fn for_origin(&self, origin: &Origin) -> Result<Option<&Proxy>, ProxyError> {
        if origin.is_loopback() {
            return Ok(None);
        }
        self.select(origin.scheme(), origin.host(), origin.port())
    }

    fn select(&self, scheme: Scheme, host: &str, port: u16) -> Result<Option<&Proxy>, ProxyError> {
        let named = match scheme {
            Scheme::Http => &self.http,
            Scheme::Https => &self.https,
        };
        if matches!(named, Ok(None)) {
            return Ok(None);
        }
        let direct = self.direct.as_ref().map_err(|error| *error)?;
        if direct.iter().any(|entry| entry.covers(host, port)) {
            return Ok(None);
        }
        named.as_ref().map(Option::as_ref).map_err(|error| *error)
    }
}

impl ProxySelector for Proxies {
    fn proxy(&self, origin: &Origin) -> Option<Proxy> {
        // Never bypass a configured proxy: drivers refuse to connect through this one.
        let unusable = || Proxy { url: String::new() };
        match self.for_origin(origin) {
            Ok(proxy) => proxy.cloned(),
            Err(_) => Some(unusable()),
        }
    }
}

impl Direct {
    fn covers(&self, host: &str, port: u16) -> bool {
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

/// The first of these variables that is set, and its value.
fn first_set(
    variables: &impl Fn(&str) -> Option<OsString>,
    names: &[&'static str],
) -> Result<Option<(&'static str, String)>, ProxyError> {
    for name in names {
        if let Some(value) = set(variables, name)? {
            return Ok(Some((*name, value)));
        }
    }
    Ok(None)
}

/// Parses an address; IPv6 may be in brackets.
fn literal(host: &str) -> Option<IpAddr> {
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

/// Converts a proxy's URL to the form `http://[user:password@]host:port`.
fn parse(text: &str) -> Result<Proxy, &'static str> {
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
    Ok(Proxy {
        url: format!("http://{login}{host}:{port}"),
    })
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

/// A variable with an invalid proxy.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct ProxyError {
    variable: &'static str,
    why: &'static str,
}

impl fmt::Debug for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the variable {} {}; expected http://[user:password@]host[:port]",
            self.variable, self.why
        )
    }
}

impl From<VariableError> for ProxyError {
    fn from(error: VariableError) -> Self {
        Self {
            variable: error.name(),
            why: "is not valid UTF-8",
        }
    }
}

impl std::error::Error for ProxyError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::among;

    fn read(variables: &[(&str, &str)]) -> Proxies {
        Proxies::from_variables(among(variables))
    }

    fn url(proxies: &Proxies, scheme: Scheme, host: &str, port: u16) -> Option<String> {
        let chosen = proxies.select(scheme, host, port).expect("a good URL");
        chosen.map(|proxy| proxy.url.clone())
    }

    #[test]
    fn which_variable_counts() {
        // (variables, for http, for https)
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>, Option<&'a str>);
        let a = Some("http://a:80");
        let b = Some("http://b:80");
        let table: &[Row<'_>] = &[
            (&[], None, None),
            (&[("HTTP_PROXY", "a")], a, None),
            (&[("http_proxy", "a")], a, None),
            (&[("HTTP_PROXY", "a"), ("http_proxy", "b")], a, None),
            (&[("HTTP_PROXY", ""), ("http_proxy", "b")], b, None),
            (&[("HTTPS_PROXY", "a")], None, a),
            (&[("https_proxy", "a")], None, a),
            (&[("ALL_PROXY", "a")], a, a),
            (&[("all_proxy", "a"), ("HTTPS_PROXY", "b")], a, b),
            (
                &[("HTTP_PROXY", "a"), ("REQUEST_METHOD", "GET")],
                None,
                None,
            ),
            (&[("http_proxy", "b"), ("REQUEST_METHOD", "GET")], b, None),
        ];
        for (variables, http, https) in table {
            let proxies = read(variables);
            let got = |scheme, port| url(&proxies, scheme, "r.example", port);
            assert_eq!(got(Scheme::Http, 80).as_deref(), *http, "{variables:?}");
            assert_eq!(got(Scheme::Https, 443).as_deref(), *https, "{variables:?}");
        }
    }

    #[test]
    fn urls() {
        let table = [
            ("proxy", Some("http://proxy:80")),
            ("proxy:3128", Some("http://proxy:3128")),
            ("http://proxy:3128/", Some("http://proxy:3128")),
            ("HTTP://proxy", Some("http://proxy:80")),
            ("http://u:p%40q@proxy:1", Some("http://u:p%40q@proxy:1")),
            ("http://[fd00::1]:3128", Some("http://[fd00::1]:3128")),
            ("http://[fd00::1]", Some("http://[fd00::1]:80")),
            ("https://proxy", None),
            ("socks5://proxy", None),
            ("http://", None),
            ("http://proxy:port", None),
            ("http://proxy:0", None),
            ("http://proxy/path", None),
            ("http://u:p@q@proxy", None),
            ("http://pro xy", None),
            ("http://fd00::1:80", None),
        ];
        for (text, expected) in table {
            let parsed = parse(text).map(|proxy| proxy.url).ok();
            assert_eq!(parsed.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn errors_name_the_variable_and_no_password() {
        let proxies = read(&[("HTTPS_PROXY", "socks5://u:s3cret@proxy")]);
        let origin: Origin = "https://r.example".parse().expect("an origin");
        let error = proxies.check(&origin).expect_err("not spoken");
        let text = format!("{error} {error:?}");
        assert!(text.contains("HTTPS_PROXY"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[test]
    fn no_proxy() {
        // (NO_PROXY, host, port, direct)
        let table = [
            ("", "r.example", 443, false),
            ("*", "r.example", 443, true),
            ("r.example", "r.example", 443, true),
            ("r.example", "a.r.example", 443, true),
            ("r.example", "ar.example", 443, false),
            ("R.Example.", "r.example", 443, true),
            (".example", "r.example", 443, true),
            (".r.example", "r.example", 443, false),
            ("*.r.example", "a.r.example", 443, true),
            ("*.r.example", "r.example", 443, false),
            ("r.example:5000", "r.example", 5000, true),
            ("r.example:5000", "r.example", 443, false),
            ("a, r.example ,b", "r.example", 443, true),
            ("a r.example", "r.example", 443, true),
            ("10.1.2.3", "10.1.2.3", 443, true),
            ("10.1.2.3:80", "10.1.2.3", 443, false),
            ("10.1.2.3:443", "10.1.2.3", 443, true),
            ("10.0.0.0/8", "10.200.0.1", 443, true),
            ("10.0.0.0/8", "11.0.0.1", 443, false),
            ("10.0.0.0/8", "r.example", 443, false),
            ("0.0.0.0/0", "11.0.0.1", 443, true),
            ("0.0.0.0/0", "[fd00::1]", 443, false),
            ("10.0.0.1/32", "10.0.0.1", 443, true),
            ("fd00::/8", "[fd00::1]", 443, true),
            ("fd00::/8", "[fe80::1]", 443, false),
            ("::/0", "[fe80::1]", 443, true),
            ("[fd00::1]:5000", "[fd00::1]", 5000, true),
            ("fd00::1", "[fd00::1]", 5000, true),
            ("10.0.0.0/99", "10.0.0.0", 443, false),
            ("10.0.0.0/33", "10.0.0.0", 443, false),
            ("10.0.0.0/-1", "10.0.0.0", 443, false),
            ("10.0.0.0/", "10.0.0.0", 443, false),
            ("10.0.0.1/32", "10.0.0.2", 443, false),
            ("10.0.0.0/31", "10.0.0.1", 443, true),
            // The other kind of address is in no network, whatever its width.
            ("::/0", "10.0.0.1", 443, false),
            ("fd00::/32", "10.0.0.1", 443, false),
            ("fd00::/33", "10.0.0.1", 443, false),
            ("fd00::/64", "10.0.0.1", 443, false),
            ("fd00::1/128", "10.0.0.1", 443, false),
            ("fd00::/129", "[fd00::]", 443, false),
            ("fd00::/33", "[fd00:0:7fff::]", 443, true),
            ("fd00::/33", "[fd00:0:8000::]", 443, false),
            ("fd00::/64", "[fd00::1]", 443, true),
            ("fd00::/64", "[fd00:0:0:1::1]", 443, false),
            ("fd00::1/128", "[fd00::1]", 443, true),
            ("fd00::1/128", "[fd00::2]", 443, false),
            ("[fd00::]/64", "[fd00::1]", 443, true),
            ("fd00::/64, 10.0.0.0/8", "10.0.0.1", 443, true),
            (",,", "r.example", 443, false),
            (".", "r.example", 443, false),
        ];
        for (list, host, port, direct) in table {
            let proxies = read(&[("ALL_PROXY", "proxy"), ("NO_PROXY", list)]);
            let chosen = url(&proxies, Scheme::Https, host, port);
            assert_eq!(chosen.is_none(), direct, "{list}: {host}:{port}");
        }
    }

    #[test]
    fn what_cannot_be_used_matters_where_it_is_needed() {
        type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, Option<&'a str>);
        let bad = ("ALL_PROXY", "socks5h://proxy:1080");
        // (variables, origin, the variable that is to blame)
        let table: &[Row<'_>] = &[
            (&[bad], "https://r.example", Some("ALL_PROXY")),
            (&[bad], "http://r.example", Some("ALL_PROXY")),
            (&[bad], "http://127.0.0.1:5000", None),
            (&[bad], "https://localhost", None),
            (&[bad, ("NO_PROXY", "r.example")], "https://r.example", None),
            (&[bad, ("HTTPS_PROXY", "proxy")], "https://r.example", None),
            (
                &[bad, ("HTTPS_PROXY", "proxy")],
                "http://r.example",
                Some("ALL_PROXY"),
            ),
            (&[("HTTP_PROXY", "x://y")], "https://r.example", None),
            (
                &[("HTTP_PROXY", "x://y")],
                "http://r.example",
                Some("HTTP_PROXY"),
            ),
        ];
        for (variables, origin, blamed) in table {
            let proxies = read(variables);
            let origin: Origin = origin.parse().expect("an origin");
            let error = proxies.check(&origin).err();
            assert_eq!(
                error.map(|error| error.variable),
                *blamed,
                "{variables:?} {origin}"
            );
            let is_direct = proxies.proxy(&origin).is_none();
            assert!(
                blamed.is_none() || !is_direct,
                "never past it: {variables:?} {origin}"
            );
        }
    }

    /// An invalid value does not mean that there is no proxy.
    #[test]
    #[cfg(unix)]
    fn what_is_no_text_is_not_passed_over() {
        let (proxied, http) = ("https://r.example", "http://r.example");
        let here = "http://127.0.0.1:5000";
        // (the variable, others, origin, whether it is an error)
        type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, bool);
        let proxy = ("ALL_PROXY", "proxy");
        let table: &[Row<'_>] = &[
            ("HTTPS_PROXY", &[], proxied, true),
            ("https_proxy", &[], proxied, true),
            ("HTTPS_PROXY", &[("https_proxy", "proxy")], proxied, true),
            ("https_proxy", &[("HTTPS_PROXY", "proxy")], proxied, false),
            ("HTTPS_PROXY", &[], http, false),
            ("HTTP_PROXY", &[], http, true),
            ("http_proxy", &[], http, true),
            ("HTTP_PROXY", &[], proxied, false),
            ("HTTP_PROXY", &[("REQUEST_METHOD", "GET")], http, false),
            ("ALL_PROXY", &[], proxied, true),
            ("all_proxy", &[], http, true),
            ("all_proxy", &[("HTTPS_PROXY", "proxy")], proxied, false),
            ("ALL_PROXY", &[], here, false),
            ("NO_PROXY", &[proxy], proxied, true),
            ("no_proxy", &[proxy], http, true),
            ("no_proxy", &[proxy, ("NO_PROXY", "x")], proxied, false),
            ("NO_PROXY", &[], proxied, false),
            ("NO_PROXY", &[proxy], here, false),
        ];
        for (bad, others, origin, is_error) in table {
            let proxies = Proxies::from_variables(crate::with_bad(bad, others));
            let origin: Origin = origin.parse().expect("an origin");
            let checked = proxies.check(&origin);
            assert_eq!(checked.is_err(), *is_error, "{bad} {others:?} {origin}");
            if let Err(error) = checked {
                assert_eq!(error.variable, *bad);
                assert!(error.to_string().contains("is not valid UTF-8"), "{error}");
                assert!(!error.to_string().contains("s3cret"), "{error}");
                let proxy = proxies.proxy(&origin).expect("never past it");
                assert!(proxy.url.is_empty(), "{bad}");
            }
        }
    }

    #[test]
    fn debug_hides_passwords() {
        let proxies = read(&[("ALL_PROXY", "http://u:s3cret@proxy")]);
        assert!(!format!("{proxies:?}").contains("s3cret"));
    }
}
