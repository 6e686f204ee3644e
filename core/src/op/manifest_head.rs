//! `HEAD /v2/<name>/manifests/<reference>`: the digest of a tag, or whether a manifest exists.

use alloc::format;
use alloc::string::ToString;

use http::{Method, header};

use super::{Answer, Draft, OpOutcome, Site, Verdict};
use crate::call::{Expect, content_length};
use crate::header::content_type;
use crate::manifest::media_type::ACCEPT_MANIFESTS;
use crate::reference::Target;

/// Checks a manifest without fetching it.
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

    /// Anything but 200 and an authentication failure counts as "not known to exist": a HEAD
    /// without a useful response (405, Artifactory's 403, HTTP-21) must not fail a push, whose next
    /// request will tell.
    pub(super) fn answer(self, answer: &Answer) -> Verdict {
        match answer.status.as_u16() {
            200..=299 => Verdict::Done(OpOutcome::Found {
                digest: answer.content_digest(),
                size: content_length(&answer.headers),
                media_type: content_type(&answer.headers).map(ToString::to_string),
            }),
            401 => Verdict::Failed(answer.failure("manifest")),
            _ if answer.denied.is_some() => Verdict::Failed(answer.failure("manifest")),
            _ => Verdict::Done(OpOutcome::Absent),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::super::testing::{answer, site};
    use super::*;
    use crate::digest::{Algorithm, Digest};

    fn found(status: u16, headers: &[(&'static str, &str)]) -> String {
        let op = ManifestHead {
            site: site(),
            target: Target::Digest(Digest::of(Algorithm::Sha256, b"x")),
        };
        match op.answer(&answer(status, headers, b"")) {
            Verdict::Done(OpOutcome::Found {
                digest,
                size,
                media_type,
            }) => format!("{} {size:?} {media_type:?}", digest.is_some()),
            Verdict::Done(outcome) => format!("{outcome:?}"),
            Verdict::Failed(error) => format!("{:?}", error.kind()),
            next @ Verdict::Next(_) => format!("{next:?}"),
        }
    }

    #[test]
    fn answers() {
        let digest = Digest::of(Algorithm::Sha256, b"x").to_string();
        let named = ("docker-content-digest", digest.as_str());
        let (kind, length) = (("content-type", "a/b"), ("content-length", "7"));
        let all = found(200, &[named, kind, length]);
        assert_eq!(all, r#"true Some(7) Some("a/b")"#);
        assert_eq!(found(200, &[kind]), r#"false None Some("a/b")"#, "N-3");
        let junk = ("docker-content-digest", "sha256:junk");
        assert_eq!(found(200, &[junk]), "false None None");
        for status in [403, 404, 405, 400] {
            assert_eq!(found(status, &[]), "Absent", "HTTP-21 {status}");
        }
        assert_eq!(found(401, &[]), "Auth");
    }
}
