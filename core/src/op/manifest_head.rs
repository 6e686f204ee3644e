//! `HEAD /v2/<name>/manifests/<reference>`: what a tag stands for, or whether a manifest is there.

use alloc::format;
use alloc::string::ToString;

use http::{Method, header};

use super::{Answer, Draft, Outcome, Site, Verdict};
use crate::call::{Expect, content_length};
use crate::manifest::media_type::ACCEPT_MANIFESTS;
use crate::reference::Target;

/// Asks for a manifest without its bytes.
#[derive(Clone, Debug)]
pub(crate) struct ManifestHead {
    pub(crate) site: Site,
    pub(crate) target: Target,
}

impl ManifestHead {
    pub(super) fn draft(&self) -> Draft {
        let url = self.site.url(&format!("manifests/{}", self.target));
        Draft::new(Method::HEAD, url, Expect::Head).with(header::ACCEPT, ACCEPT_MANIFESTS)
    }

    /// What is not 200 and no refusal of authentication counts as "not known to be there": a HEAD
    /// that is not answered in a useful way (405, Artifactory's 403, HTTP-21) must not end a push,
    /// which finds out by its next request.
    pub(super) fn answer(self, answer: &Answer) -> Verdict {
        match answer.status.as_u16() {
            200..=299 => Verdict::Done(Outcome::Found {
                digest: answer.content_digest(),
                size: content_length(&answer.headers),
                media_type: answer.header(header::CONTENT_TYPE).map(ToString::to_string),
            }),
            401 => Verdict::Failed(answer.failure("manifest")),
            _ if answer.denied.is_some() => Verdict::Failed(answer.failure("manifest")),
            _ => Verdict::Done(Outcome::Absent),
        }
    }
}
