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
