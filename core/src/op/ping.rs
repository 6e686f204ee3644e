//! `GET /v2/`: asks a registry for its challenge (PING, AUTH-06).

use http::Method;

use super::{Draft, Site};
use crate::call::Expect;
use crate::uri::Url;

/// Requests a challenge, without credentials. Only the challenge matters, and the broker reads it.
#[derive(Clone, Debug)]
pub(crate) struct Ping {
    pub(crate) site: Site,
}

impl Ping {
    pub(super) fn draft(&self) -> Draft {
        Draft::new(Method::GET, self.url(), Expect::Head)
    }

    pub(crate) fn url(&self) -> Url {
        self.site.ping()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::site;
    use super::*;

    #[test]
    fn request() {
        let draft = Ping { site: site() }.draft();
        assert_eq!(draft.method, Method::GET);
        assert_eq!(draft.url.as_str(), "https://reg.example/v2/");
        assert!(draft.headers.is_empty());
    }
}
