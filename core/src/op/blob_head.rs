//! `HEAD /v2/<name>/blobs/<digest>`: whether a blob is there. Also a probe with a small answer.

use alloc::format;

use http::Method;

use super::{Answer, Draft, Outcome, Site, Verdict};
use crate::call::Expect;
use crate::digest::Digest;

/// Asks whether a blob is in a repository.
#[derive(Clone, Debug)]
pub(crate) struct BlobHead {
    pub(crate) site: Site,
    pub(crate) digest: Digest,
}

impl BlobHead {
    pub(super) fn draft(&self) -> Draft {
        Draft::new(
            Method::HEAD,
            self.site.url(&format!("blobs/{}", self.digest)),
            Expect::Head,
        )
    }

    /// 401 and 403 are not "absent" (PUSHB-02).
    pub(super) fn answer(self, answer: &Answer) -> Verdict {
        match answer.status.as_u16() {
            200..=299 => Verdict::Done(Outcome::Present),
            404 | 405 | 410 => Verdict::Done(Outcome::Absent),
            _ => Verdict::Failed(answer.failure(&format!("blob {}", self.digest))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{answer, site};
    use super::*;
    use crate::digest::Algorithm;

    #[test]
    fn answers() {
        for (status, expected) in [
            (200, "Present"),
            (404, "Absent"),
            (405, "Absent"),
            (410, "Absent"),
            (401, "Auth"),
            (403, "Auth"),
            (400, "Refused"),
        ] {
            let digest = Digest::of(Algorithm::Sha256, b"hello");
            let op = BlobHead {
                site: site(),
                digest,
            };
            let found = match op.answer(&answer(status, &[], b"")) {
                Verdict::Done(outcome) => format!("{outcome:?}"),
                Verdict::Failed(error) => format!("{:?}", error.kind()),
                next @ Verdict::Next(_) => format!("{next:?}"),
            };
            assert_eq!(found, expected, "PUSHB-02 {status}");
        }
    }
}
