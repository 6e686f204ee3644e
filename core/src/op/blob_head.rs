//! `HEAD /v2/<name>/blobs/<digest>`: whether a blob exists. Also the auth probe with a small
//! response.

use alloc::format;

use http::Method;

use super::{Answer, Draft, OpOutcome, Site, Verdict};
use crate::call::Expect;
use crate::digest::Digest;

/// Checks whether a blob exists in a repository.
#[derive(Clone, Debug)]
pub(crate) struct BlobHead {
    pub(crate) site: Site,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl BlobHead {
    pub(super) fn draft(&self) -> Draft {
        Draft::new(
            Method::HEAD,
            self.site.url(&format!("blobs/{}", self.digest)),
            Expect::Head,
        )
    }

    /// Anything but a success counts as absent: the upload that follows shows whether it is
    /// allowed. Some registries refuse every HEAD, and some redirect it to a storage that does.
    pub(super) fn answer(&self, answer: &Answer) -> Verdict {
        Verdict::Done(if answer.has_blob(&self.digest, self.size) {
            OpOutcome::Present { unused: None }
        } else {
            OpOutcome::Absent
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{answer, site};
    use super::*;
    use crate::digest::Algorithm;
    use alloc::vec::Vec;

    #[test]
    fn answers() {
        let there = "Present { unused: None }";
        for (status, len, expected) in [
            (200, None, there),
            (204, None, there),
            (200, Some("5"), there),
            (200, Some("4"), "Absent"),
            (400, None, "Absent"),
            (401, None, "Absent"),
            (403, None, "Absent"),
            (404, None, "Absent"),
            (405, None, "Absent"),
            (410, None, "Absent"),
            (501, None, "Absent"),
        ] {
            let digest = Digest::of(Algorithm::Sha256, b"hello");
            let op = BlobHead {
                site: site(),
                digest,
                size: 5,
            };
            let headers: Vec<_> = len.map(|len| ("content-length", len)).into_iter().collect();
            let found = match op.answer(&answer(status, &headers, b"")) {
                Verdict::Done(outcome) => format!("{outcome:?}"),
                Verdict::Failed(error) => format!("{:?}", error.kind()),
                next @ Verdict::Next(_) => format!("{next:?}"),
            };
            assert_eq!(found, expected, "PUSHB-02 {status} {len:?}");
        }
    }
}
