//! `PUT /v2/<name>/manifests/<reference>` (PUSHM-01).

use alloc::format;
use alloc::sync::Arc;

use http::{Method, header};

use super::{Answer, Draft, Outcome, Site, Verdict};
use crate::call::{Expect, Payload};
use crate::descriptor::Descriptor;
use crate::reference::Target;

/// Sends a manifest, byte for byte as it is.
#[derive(Clone, Debug)]
pub(crate) struct ManifestPut {
    pub(crate) site: Site,
    pub(crate) target: Target,
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Arc<[u8]>,
}

impl ManifestPut {
    pub(super) fn draft(&self) -> Draft {
        let url = self.site.url(&format!("manifests/{}", self.target));
        let mut draft = Draft::new(Method::PUT, url, Expect::Head)
            .with(header::CONTENT_TYPE, &self.descriptor.media_type);
        draft.payload = Payload::Bytes(self.bytes.clone());
        draft
    }

    pub(super) fn answer(self, answer: &Answer) -> Verdict {
        if answer.status.is_success() {
            // PUSHM-04. Another algorithm than ours says nothing we can check.
            let ours = &self.descriptor.digest;
            let said = answer.content_digest();
            return match said.filter(|said| said.algorithm() == ours.algorithm()) {
                Some(said) if said != *ours => Verdict::Failed(
                    answer.peer(format!("says it stored {said}, but was sent {ours}")),
                ),
                Some(_) | None => Verdict::Done(Outcome::Put),
            };
        }
        let failure = answer.failure(&format!(
            "repository `{}/{}`",
            self.site.registry, self.site.repository
        ));
        let said = answer.said();
        if answer.denied.is_none()
            && (said.has("MANIFEST_BLOB_UNKNOWN") || said.has("BLOB_UNKNOWN"))
        {
            return Verdict::Done(Outcome::Childless(failure));
        }
        Verdict::Failed(failure)
    }
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString as _};

    use super::super::testing::{answer, site};
    use super::*;
    use crate::digest::{Algorithm, Digest};

    fn put(status: u16, headers: &[(&'static str, &str)], code: &str) -> String {
        let digest = Digest::of(Algorithm::Sha256, b"x");
        let op = ManifestPut {
            site: site(),
            target: Target::Digest(digest.clone()),
            descriptor: Descriptor::new("a/b", digest, 1),
            bytes: Arc::from(&b"x"[..]),
        };
        assert_eq!(op.draft().headers[header::CONTENT_TYPE], "a/b", "PUSHM-02");
        let body = format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#);
        match op.answer(&answer(status, headers, body.as_bytes())) {
            Verdict::Done(Outcome::Childless(error)) => format!("childless {:?}", error.kind()),
            Verdict::Done(outcome) => format!("{outcome:?}"),
            Verdict::Failed(error) => {
                format!("{:?} {}", error.kind(), error.hint().unwrap_or_default())
            }
            next @ Verdict::Next(_) => format!("{next:?}"),
        }
    }

    #[test]
    fn answers() {
        let of = |bytes: &[u8], algorithm| Digest::of(algorithm, bytes).to_string();
        let ours = of(b"x", Algorithm::Sha256);
        let theirs = of(b"y", Algorithm::Sha256);
        let other = of(b"y", Algorithm::Sha512);
        let named = |digest| put(201, &[("docker-content-digest", digest)], "");
        assert_eq!(named(&ours), "Put", "PUSHM-04");
        assert_eq!(named(&theirs), "Refused ", "PUSHM-04");
        assert_eq!(named(&other), "Put", "PUSHM-04");
        for (status, code, expected) in [
            (201, "", "Put"),
            (200, "", "Put"),
            (202, "", "Put"),
            (400, "MANIFEST_BLOB_UNKNOWN", "childless Refused"),
            (404, "MANIFEST_BLOB_UNKNOWN", "childless NotFound"),
            (404, "BLOB_UNKNOWN", "childless NotFound"),
            (400, "MANIFEST_INVALID", "Refused "),
            (409, "", "Refused the tag may be immutable"),
            (400, "TAG_IMMUTABLE", "Refused the tag is immutable"),
            (
                404,
                "NAME_UNKNOWN",
                "NotFound the registry does not know the repository",
            ),
            (
                415,
                "",
                "Refused the registry does not take this type of manifest",
            ),
            (403, "DENIED", "Auth "),
        ] {
            assert_eq!(put(status, &[], code), expected, "{status} {code}");
        }
    }
}
