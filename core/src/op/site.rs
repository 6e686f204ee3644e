//! A repository and where it is contacted.
//!
//! Responsible for the URLs of a repository at one endpoint, and for which endpoints it is read from.
//! Must not know when the next one is tried (`exchanges`).

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;

use crate::config::Contact;
use crate::registry::Origin;
use crate::uri::Url;

/// A repository at one endpoint. Clones share their memory: thousands of blobs have one.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Site(Arc<SiteParts>);

/// The fields of a [`Site`].
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct SiteParts {
    contact: Contact,
    /// If it is a mirror: the origin of the registry that it is one of.
    mirrored: Option<Origin>,
    /// The endpoints that it is read from, in their order. None: it is read from itself.
    sources: Vec<Site>,
}

impl Deref for Site {
    type Target = Contact;

    fn deref(&self) -> &Contact {
        &self.0.contact
    }
}

impl Site {
    /// A repository of a registry at an origin.
    #[cfg(test)]
    pub(crate) fn new(
        registry: crate::registry::Registry,
        origin: Origin,
        repository: crate::reference::Repository,
    ) -> Self {
        Self::at(Contact::new(registry, origin, repository))
    }

    /// A repository at an endpoint, read from there alone.
    pub(crate) fn at(contact: Contact) -> Self {
        Self::with(contact, None, Vec::new())
    }

    /// A repository of a registry that is read from `sources`, in their order.
    pub(crate) fn read_from(contact: Contact, sources: Vec<Contact>) -> Self {
        let registry = contact.origin.clone();
        let site = |source: Contact| {
            let mirrored = source.is_mirror.then(|| registry.clone());
            Self::with(source, mirrored, Vec::new())
        };
        match &sources[..] {
            [only] if !only.is_mirror => Self::at(only.clone()),
            _ => {
                let sources = sources.into_iter().map(site).collect();
                Self::with(contact, None, sources)
            }
        }
    }

    fn with(contact: Contact, mirrored: Option<Origin>, sources: Vec<Self>) -> Self {
        let parts = SiteParts {
            contact,
            mirrored,
            sources,
        };
        Self(Arc::new(parts))
    }

    /// The endpoints that it is read from, if not from itself alone.
    pub(crate) fn sources(&self) -> &[Self] {
        &self.0.sources
    }

    /// The origin of the registry itself.
    pub(crate) fn upstream(&self) -> &Origin {
        self.0.mirrored.as_ref().unwrap_or(&self.origin)
    }

    /// Whether both are repositories of one registry.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.registry == other.registry && self.origin == other.origin
    }

    /// Whether a header of its configuration authorises requests, so that no credentials are shown.
    pub(crate) fn is_authorized(&self) -> bool {
        let mut names = self.headers.iter().map(|header| header.name());
        names.any(|name| name == http::header::AUTHORIZATION.as_str())
    }

    /// A URL in this repository. `rest` consists of validated parts only (REF-21).
    pub(crate) fn url(&self, rest: &str) -> Url {
        let url = self.parsed(&format!("{}/{rest}", self.repository));
        match &self.ns {
            Some(ns) => url.with_query("ns", ns.as_str()),
            None => url,
        }
    }

    /// A URL of the registry as a whole.
    pub(crate) fn of_registry(&self, rest: &str) -> Url {
        self.parsed(rest)
    }

    /// The URL that tells whether there is an API.
    pub(crate) fn ping(&self) -> Url {
        self.parsed("")
    }

    fn parsed(&self, rest: &str) -> Url {
        Url::parse(&format!("{}{}/{rest}", self.origin, self.api)).expect(
            "origins, paths of APIs, repository names, tags and digests need no escaping in a URL",
        )
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;
    use std::vec;

    use super::*;
    use crate::config::{Capabilities, RequestHeader};
    use crate::credential::Secret;

    fn contact() -> Contact {
        Contact::new(
            "reg.example".parse().expect("a registry"),
            "https://reg.example".parse().expect("an origin"),
            "a/b".parse().expect("a repository"),
        )
    }

    /// HTTP-26: `ns=` in the URLs of content at a mirror.
    #[test]
    fn urls() {
        let site = Site::at(contact());
        let url = site.url("manifests/v1");
        assert_eq!(url.as_str(), "https://reg.example/v2/a/b/manifests/v1");
        assert_eq!(site.ping().as_str(), "https://reg.example/v2/");
        let mirror = Site::at(Contact {
            api: "/x/v2".parse().expect("a path"),
            ns: Some("reg.example:5000".parse().expect("a registry")),
            ..contact()
        });
        assert_eq!(
            mirror.url("manifests/v1").as_str(),
            "https://reg.example/x/v2/a/b/manifests/v1?ns=reg.example:5000"
        );
        assert_eq!(mirror.ping().as_str(), "https://reg.example/x/v2/");
        let bare = Site::at(Contact {
            api: "".parse().expect("a path"),
            ..contact()
        });
        assert_eq!(bare.ping().as_str(), "https://reg.example/");
    }

    #[test]
    fn a_site_is_read_from_its_sources() {
        let mirror = Contact {
            origin: "https://m.example".parse().expect("an origin"),
            is_mirror: true,
            capabilities: Capabilities::ALL,
            ..contact()
        };
        assert_eq!(Site::read_from(contact(), vec![contact()]).sources(), []);
        let site = Site::read_from(contact(), vec![mirror.clone(), contact()]);
        let [first, last] = site.sources() else {
            panic!("{site:?}");
        };
        assert_eq!(first.upstream().to_string(), "https://reg.example");
        assert_eq!(last.upstream().to_string(), "https://reg.example");
        assert_eq!(Site::read_from(contact(), vec![mirror]).sources().len(), 1);
    }

    #[test]
    fn a_header_can_authorize() {
        let header = |name| RequestHeader::new(name, Secret::new("x")).expect("a header");
        for (name, expected) in [("authorization", true), ("x-authorization", false)] {
            let headers = vec![header("x-a"), header(name)];
            let site = Site::at(Contact {
                headers,
                ..contact()
            });
            assert_eq!(site.is_authorized(), expected, "{name}");
        }
    }
}
