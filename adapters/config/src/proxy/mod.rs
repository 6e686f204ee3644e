//! Proxies from `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, from windlass' own file, or from the
//! caller.
//!
//! The rules are those of Go's `http/httpproxy`, which docker, podman and containerd use, plus
//! `ALL_PROXY` as in curl. One difference: an invalid value is an error when it is needed, where
//! others connect without the proxy.

mod address;
mod no_proxy;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use windlass_core::credential::Secret;
use windlass_core::{Origin, Scheme};
use windlass_driver::{Proxy, ProxySelector};

use self::address::{parse, with_login};
use self::no_proxy::{Direct, entries};
use crate::{VariableError, set};

/// Decides which origins are reached through a proxy.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Named,
    https: Named,
    /// The entries of `NO_PROXY`, and where they are from. If it is invalid, no proxy's use is known.
    direct: Exceptions,
}

/// The proxy for one scheme.
#[derive(Clone, Debug, Default)]
enum Named {
    #[default]
    None,
    /// This one, and where it is from.
    Known(Proxy, String),
    Invalid(ProxyError),
}

#[derive(Clone, Debug)]
enum Exceptions {
    Known(Vec<Direct>, String),
    Invalid(ProxyError),
}

impl Default for Exceptions {
    fn default() -> Self {
        Self::Known(Vec::new(), String::new())
    }
}

/// Which way an origin is reached, and why. Has no credentials in it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ProxyChoice {
    /// Without a proxy.
    Direct {
        /// The reason: no proxy, a loopback host, an entry of `NO_PROXY`.
        why: String,
    },
    /// Through a proxy.
    Through {
        /// `host:port` of the proxy.
        address: String,
        /// Whether it gets credentials.
        has_login: bool,
        /// The variable or file that names it.
        from: String,
    },
    /// Not at all: what says which proxy is invalid.
    Invalid(ProxyError),
}

impl fmt::Display for ProxyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct { why } => write!(f, "direct: {why}"),
            Self::Through {
                address,
                has_login,
                from,
            } => {
                let login = if *has_login { ", with credentials" } else { "" };
                write!(f, "proxy {address}{login}: {from}")
            }
            Self::Invalid(error) => write!(f, "none is used: {error}"),
        }
    }
}

/// What windlass' own file says about proxies.
pub(crate) struct Own<'a> {
    pub(crate) http: Option<&'a str>,
    pub(crate) https: Option<&'a str>,
    pub(crate) no_proxy: Option<&'a [String]>,
    pub(crate) login: Option<&'a (String, Secret)>,
    pub(crate) by: &'a Path,
}

impl Proxies {
    /// These proxies for plain HTTP and for TLS, as `http://[user:password@]host[:port]`, and the hosts that
    /// are reached directly, in the form of `NO_PROXY`.
    ///
    /// # Errors
    ///
    /// If a proxy's URL is invalid or of an unsupported kind.
    pub fn new(
        http: Option<&str>,
        https: Option<&str>,
        no_proxy: &str,
    ) -> Result<Self, ProxyError> {
        let by = "the caller";
        let named = |url: Option<&str>| match url.map(|url| named(url, by)) {
            Some(Named::Invalid(error)) => Err(error),
            Some(named @ (Named::Known(..) | Named::None)) => Ok(named),
            None => Ok(Named::None),
        };
        Ok(Self {
            http: named(http)?,
            https: named(https)?,
            direct: Exceptions::Known(entries(no_proxy), by.to_owned()),
        })
    }

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
        let first = |names: &[&'static str]| match first_set(&variables, names) {
            Ok(None) => Named::None,
            Ok(Some((variable, text))) => named(&text, &format!("the variable {variable}")),
            Err(error) => Named::Invalid(error.into()),
        };
        let all = first(&["ALL_PROXY", "all_proxy"]);
        let or_all = |named: Named| match named {
            Named::None => all.clone(),
            Named::Known(..) | Named::Invalid(_) => named,
        };
        let is_cgi = variables("REQUEST_METHOD").is_some_and(|value| !value.is_empty());
        let http = first(if is_cgi {
            &["http_proxy"]
        } else {
            &["HTTP_PROXY", "http_proxy"]
        });
        let https = first(&["HTTPS_PROXY", "https_proxy"]);
        let direct = match first_set(&variables, &["NO_PROXY", "no_proxy"]) {
            Ok(None) => Exceptions::default(),
            Ok(Some((variable, list))) => {
                Exceptions::Known(entries(&list), format!("the variable {variable}"))
            }
            Err(error) => Exceptions::Invalid(error.into()),
        };
        Self {
            http: or_all(http),
            https: or_all(https),
            direct,
        }
    }

    /// The same, and what windlass' own file has where no variable is set.
    pub(crate) fn with_own(own: &Own<'_>, variables: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = Self::from_variables(variables);
        let or_own = |set: Named, url: Option<&str>, key: &str| match (set, url) {
            (Named::None, Some(url)) => {
                let by = format!("{}, [proxy] {key}", own.by.display());
                match (named(url, &by), own.login) {
                    (Named::Known(proxy, by), Some(login)) => {
                        Named::Known(with_login(proxy, login), by)
                    }
                    (named, _) => named,
                }
            }
            (set, _) => set,
        };
        let direct = match (set.direct, own.no_proxy) {
            (Exceptions::Known(_, by), Some(list)) if by.is_empty() => {
                let by = format!("{}, [proxy] no-proxy", own.by.display());
                Exceptions::Known(entries(&list.join(",")), by)
            }
            (set, _) => set,
        };
        Self {
            http: or_own(set.http, own.http, "http"),
            https: or_own(set.https, own.https, "https"),
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

    /// Which way this origin is reached, and why.
    pub fn explain(&self, origin: &Origin) -> ProxyChoice {
        if origin.is_loopback() {
            let why = "it is on this machine".to_owned();
            return ProxyChoice::Direct { why };
        }
        match self.select(origin.scheme(), origin.host(), origin.port()) {
            Err(error) => ProxyChoice::Invalid(error),
            Ok(Selected::Through(proxy, from)) => ProxyChoice::Through {
                address: proxy.address().to_owned(),
                has_login: proxy.url.contains('@'),
                from: from.to_owned(),
            },
            Ok(Selected::NoProxy) => ProxyChoice::Direct {
                why: "no proxy is set".to_owned(),
            },
            Ok(Selected::Excepted(entry, from)) => ProxyChoice::Direct {
                why: format!("{from} has {entry}"),
            },
        }
    }

    fn for_origin(&self, origin: &Origin) -> Result<Option<&Proxy>, ProxyError> {
        if origin.is_loopback() {
            return Ok(None);
        }
        let selected = self.select(origin.scheme(), origin.host(), origin.port())?;
        Ok(match selected {
            Selected::Through(proxy, _) => Some(proxy),
            Selected::NoProxy | Selected::Excepted(..) => None,
        })
    }

    fn select(&self, scheme: Scheme, host: &str, port: u16) -> Result<Selected<'_>, ProxyError> {
        let named = match scheme {
            Scheme::Http => &self.http,
            Scheme::Https => &self.https,
        };
        if matches!(named, Named::None) {
            return Ok(Selected::NoProxy);
        }
        let (entries, from) = match &self.direct {
            Exceptions::Known(entries, from) => (entries, from),
            Exceptions::Invalid(error) => return Err(error.clone()),
        };
        if let Some(entry) = entries.iter().find(|entry| entry.covers(host, port)) {
            return Ok(Selected::Excepted(entry, from));
        }
        match named {
            Named::None => Ok(Selected::NoProxy),
            Named::Known(proxy, from) => Ok(Selected::Through(proxy, from)),
            Named::Invalid(error) => Err(error.clone()),
        }
    }
}

/// What is said about one host.
#[derive(Debug)]
enum Selected<'a> {
    NoProxy,
    Excepted(&'a Direct, &'a str),
    Through(&'a Proxy, &'a str),
}

impl ProxySelector for Proxies {
    fn proxy(&self, origin: &Origin) -> Option<Proxy> {
        // Never bypass a configured proxy: drivers refuse to connect through this one.
        let unusable = || Proxy::new("");
        match self.for_origin(origin) {
            Ok(proxy) => proxy.cloned(),
            Err(_) => Some(unusable()),
        }
    }
}

fn named(url: &str, by: &str) -> Named {
    match parse(url) {
        Ok(proxy) => Named::Known(proxy, by.to_owned()),
        Err(why) => Named::Invalid(ProxyError {
            by: by.to_owned(),
            why,
        }),
    }
}

/// The first of these variables that is set, and its value.
fn first_set(
    variables: &impl Fn(&str) -> Option<OsString>,
    names: &[&'static str],
) -> Result<Option<(&'static str, String)>, VariableError> {
    for name in names {
        if let Some(value) = set(variables, name)? {
            return Ok(Some((*name, value)));
        }
    }
    Ok(None)
}

/// A variable, or a key of a file, with an invalid proxy.
#[derive(Clone, Eq, PartialEq)]
pub struct ProxyError {
    by: String,
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
            "{} {}; expected http://[user:password@]host[:port]",
            self.by, self.why
        )
    }
}

impl From<VariableError> for ProxyError {
    fn from(error: VariableError) -> Self {
        Self {
            by: format!("the variable {}", error.name()),
            why: "is not valid UTF-8",
        }
    }
}

impl std::error::Error for ProxyError {}

#[cfg(test)]
mod tests;
