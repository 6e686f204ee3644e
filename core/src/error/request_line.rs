//! The request that an error is about.
//!
//! Responsible for telling programs and people the same of it, without what may be a secret: of the query only that
//! there is one.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use http::Method;

use crate::registry::{Origin, Registry};
use crate::uri::Url;

/// A request in an error: the registry, the method and the target, without the values of the query.
///
/// [`origin`](Self::origin) is where the request went. That is not always the
/// [registry](Self::registry): it may be its token service, or the storage to which the registry redirected.
///
/// # Example
///
/// ```
/// # use windlass_core::Failure;
/// /// Of a copy: whether the source failed.
/// fn is_source(failure: &Failure, source: &windlass_core::Registry) -> bool {
///     let request = failure.first().request();
///     request.is_some_and(|request| request.registry() == source)
/// }
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestLine(Arc<Line>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Line {
    registry: Registry,
    method: Method,
    origin: Origin,
    path: String,
    has_query: bool,
    about: Vec<String>,
}

impl RequestLine {
    pub(crate) fn new(registry: &Registry, method: &Method, url: &Url) -> Self {
        Self(Arc::new(Line {
            registry: registry.clone(),
            method: method.clone(),
            origin: url.origin().clone(),
            path: url.path().into(),
            has_query: url.query().is_some(),
            about: Vec::new(),
        }))
    }

    /// A request to `https://r.example/v2/`.
    #[cfg(test)]
    pub(crate) fn ping() -> Self {
        let registry: Registry = "r.example".parse().expect("a registry");
        let url = Url::parse("https://r.example/v2/").expect("a URL");
        Self::new(&registry, &Method::GET, &url)
    }

    /// Adds what the request was for.
    pub(super) fn add(&mut self, what: &str) {
        Arc::make_mut(&mut self.0).about.push(what.into());
    }

    /// The registry for which the request was made, as in the reference or the configuration; of a request to a mirror
    /// the mirror's host.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// The method, in capitals.
    pub fn method(&self) -> &str {
        self.0.method.as_str()
    }

    /// The server that was asked.
    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// The path, without the query; as it was sent.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Whether there was a query, which may have been a secret and is not kept.
    pub fn has_query(&self) -> bool {
        self.0.has_query
    }

    /// What the request was for, as far as its target does not say that; for people.
    pub fn about(&self) -> impl Iterator<Item = &str> {
        self.0.about.iter().map(String::as_str)
    }
}

/// Method and URL, then what the request was for, in brackets.
impl fmt::Display for RequestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, origin, path) = (self.method(), self.origin(), self.path());
        let query = if self.has_query() { "?***" } else { "" };
        write!(f, "{method} {origin}{path}{query}")?;
        self.about().try_for_each(|what| write!(f, " ({what})"))
    }
}
